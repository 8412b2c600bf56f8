"""Forms with files in them (RFC 7578)."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from typing import Any, Final, cast

__all__ = ["as_text", "write_multipart"]

_UNSAFE: Final = re.compile(r'["\r\n]')


def as_text(value: Any) -> str:
    """A value as it stands in a URL or a form: a string as it is, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_multipart(fields: dict[str, Any]) -> tuple[str, bytes]:
    """The boundary and the body; an object with `filename` and `content` is a file.

    Raises:
        ValueError: The content of a file is not the base64 that it is said to be.
    """
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for name, value in fields.items():
        for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
            head, content = _write_part(name, each)
            lines += [f"--{boundary}".encode(), head.encode(), b"", content]
    return boundary, b"\r\n".join([*lines, f"--{boundary}--".encode(), b""])


def _write_part(name: str, value: Any) -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="{_quote(name)}"'
    if not isinstance(value, dict) or not {"filename", "content"} <= cast("dict[str, Any]", value).keys():
        return head, as_text(value).encode()
    file = cast("dict[str, Any]", value)
    head += f'; filename="{_quote(str(file["filename"]))}"\r\nContent-Type: application/octet-stream'
    if not file.get("base64"):
        return head, str(file["content"]).encode()
    try:
        return head, base64.b64decode(str(file["content"]), validate=True)
    except binascii.Error:
        raise ValueError(f"argument {name!r}: its content is not base64") from None


def _quote(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
