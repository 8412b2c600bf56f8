"""Where the arguments of a tool go in an HTTP request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from urllib.parse import quote, urlencode

from corral.tools.multipart import as_text, write_multipart

__all__ = ["Message", "Place", "Placement", "Route", "Style"]

Place = Literal["path", "query", "header", "cookie", "body", "content"]
Style = Literal["form", "deep", "spaces", "pipes"]
_SEPARATORS: Final[dict[Style, str]] = {"form": ",", "spaces": " ", "pipes": "|", "deep": ","}
_NAMED: Final = re.compile(r"\{([^{}/]+)\}")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Placement:
    """One argument's place.

    Attributes:
        argument: Its name in the call.
        wire: Its name in the request.
        explode: A list in the query is one pair for each value; otherwise one, with separators.
        style: How lists and objects are written in the query; "deep" is name[key]=value.
    """

    argument: str
    where: Place
    wire: str
    explode: bool = True
    style: Style = "form"


@dataclass(frozen=True, slots=True)
class Message:
    """A request without its host and its credentials; `target` is the path with its query."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as a request to be filled in."""

    method: str
    path: str
    placements: tuple[Placement, ...]
    body: Literal["json", "form", "multipart", "text"] = "json"

    def fill(self, arguments: dict[str, Any]) -> Message:
        """The request for a call.

        Raises:
            ValueError: An argument has no place in a URL or header; the message is for the model.
        """
        placed = [(each, arguments[each.argument]) for each in self.placements if each.argument in arguments]
        of: dict[Place, list[tuple[Placement, Any]]] = {}
        for placement, value in placed:
            of.setdefault(placement.where, []).append((placement, value))
        target = self._fill_path({each.wire: value for each, value in of.get("path", [])})
        query = [pair for each, value in of.get("query", []) for pair in _pairs(each, value)]
        headers = {each.wire: _header_value(each, value) for each, value in of.get("header", []) if value is not None}
        cookies = [f"{each.wire}={quote(as_text(value), safe='')}" for each, value in of.get("cookie", [])]
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        content = self._write_body(of, headers)
        return Message(self.method, target + (f"?{urlencode(query)}" if query else ""), headers, content)

    def _fill_path(self, values: dict[str, Any]) -> str:
        def look_up(match: re.Match[str]) -> str:
            text = as_text(values.get(match[1]))
            if text in ("", ".", ".."):
                raise ValueError(f"argument {match[1]!r} can't be {text!r}: it is a part of the path")
            return quote(text, safe="")

        return _NAMED.sub(look_up, self.path)

    def _write_body(self, of: dict[Place, list[tuple[Placement, Any]]], headers: dict[str, str]) -> bytes | None:
        whole = of.get("content")
        fields = {each.wire: value for each, value in of.get("body", [])}
        if whole is None and not fields:
            return None
        given = {name: value for name, value in fields.items() if value is not None}
        if whole is None and self.body == "multipart":
            boundary, content = write_multipart(given)
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            return content
        if whole is None and self.body == "form":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return urlencode([(name, as_text(value)) for name, value in given.items()]).encode()
        if whole and self.body == "text":
            headers["Content-Type"] = "text/plain; charset=utf-8"
            return as_text(whole[0][1]).encode()
        headers["Content-Type"] = "application/json"
        return json.dumps(whole[0][1] if whole else fields, ensure_ascii=False).encode()


def _pairs(placement: Placement, value: Any) -> Iterator[tuple[str, str]]:
    wire = placement.wire
    if value is None:
        return
    if isinstance(value, dict) and (placement.style == "deep" or placement.explode):
        for key, each in cast("dict[str, Any]", value).items():
            yield (f"{wire}[{key}]" if placement.style == "deep" else key), as_text(each)
    elif not isinstance(value, list):
        yield wire, as_text(value)
    elif placement.explode and placement.style == "form":
        yield from ((wire, as_text(each)) for each in cast("list[Any]", value))
    else:
        yield wire, _SEPARATORS[placement.style].join(as_text(each) for each in cast("list[Any]", value))


def _header_value(placement: Placement, value: Any) -> str:
    text = as_text(value)
    if _UNSAFE.search(text) or not text.isascii():
        raise ValueError(f"argument {placement.argument!r} is sent in a header, which takes printable ASCII only")
    return text
