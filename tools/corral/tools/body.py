"""Bodies of HTTP requests, as endpoints want them written."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import urlencode

from corral.tools.multipart import read_file, write_multipart
from corral.tools.styles import as_text

__all__ = ["Body"]

_KINDS: Final = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain",
    "file": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Body:
    """How a body is written.

    Attributes:
        way: "file" is the bytes of one argument, an object with `content` and `base64`.
        kind: The media type that is said; the usual one of `way` when empty, or where it ends in "/*".
    """

    way: Literal["json", "form", "multipart", "text", "file"] = "json"
    kind: str = ""

    def write(self, value: Any) -> tuple[str, bytes]:
        """The media type, and the body; of a form, `value` is an object of its fields.

        Raises:
            ValueError: It can't be written so; the message is for the model.
        """
        match self.way:
            case "multipart":
                boundary, content = write_multipart(_given(value))
                return f"multipart/form-data; boundary={boundary}", content
            case "form":
                return self._said(value), urlencode(list(_pairs(_given(value)))).encode()
            case "text":
                said = self._said(value)
                return said if "charset" in said else f"{said}; charset=utf-8", as_text(value).encode()
            case "file":
                return self._said(value), read_file("body", value)
            case "json":
                return self._said(value), json.dumps(value, ensure_ascii=False).encode()

    def _said(self, value: Any) -> str:
        if self.kind and not self.kind.endswith("/*"):
            return self.kind
        named = str(cast("dict[str, Any]", value).get("filename", "")) if isinstance(value, dict) else ""
        return (self.way == "file" and mimetypes.guess_type(named)[0]) or _KINDS[self.way]


def _given(value: Any) -> dict[str, Any]:
    return {name: each for name, each in cast("dict[str, Any]", value).items() if each is not None}


def _pairs(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
            yield name, as_text(each)
