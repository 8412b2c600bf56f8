"""Forms with files in them (RFC 7578)."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
import secrets
from typing import Any, Final, cast

from corral.tools.styles import as_text

__all__ = ["read_file", "write_multipart"]

_UNSAFE: Final = re.compile(r'["\r\n]')
_PLAIN: Final = "application/octet-stream"


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


def read_file(name: str, value: Any) -> bytes:
    """The bytes of an argument that is a file: an object with `content`, which is text or, if it says so, base64.

    Raises:
        ValueError: The content is not the base64 that it is said to be.
    """
    file = cast("dict[str, Any]", value)
    if not file.get("base64"):
        return str(file["content"]).encode()
    try:
        return base64.b64decode(str(file["content"]), validate=True)
    except binascii.Error:
        raise ValueError(f"argument {name!r}: its content is not base64") from None


def _write_part(name: str, value: Any) -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="{_quote(name)}"'
    if not isinstance(value, dict):
        return head, as_text(value).encode()
    file = cast("dict[str, Any]", value)
    if not {"filename", "content"} <= file.keys():
        return f"{head}\r\nContent-Type: application/json", as_text(file).encode()
    named = str(file["filename"])
    kind = mimetypes.guess_type(named)[0] or _PLAIN
    return f'{head}; filename="{_quote(named)}"\r\nContent-Type: {kind}', read_file(name, file)


def _quote(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
