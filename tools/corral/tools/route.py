"""Where the arguments of a tool go in an HTTP request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from urllib.parse import quote, urlencode

__all__ = ["Message", "Place", "Placement", "Route"]

Place = Literal["path", "query", "header", "cookie", "body", "content"]
_NAMED: Final = re.compile(r"\{([^{}/]+)\}")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Placement:
    """One argument's place.

    Attributes:
        argument: Its name in the call.
        wire: Its name in the request.
        explode: A list in the query is one pair for each value; otherwise one, with commas.
    """

    argument: str
    where: Place
    wire: str
    explode: bool = True


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
    body: Literal["json", "form"] = "json"

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
        cookies = [f"{each.wire}={quote(_text(value), safe='')}" for each, value in of.get("cookie", [])]
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        content = self._write_body(of, headers)
        return Message(self.method, target + (f"?{urlencode(query)}" if query else ""), headers, content)

    def _fill_path(self, values: dict[str, Any]) -> str:
        def look_up(match: re.Match[str]) -> str:
            text = _text(values.get(match[1]))
            if text in ("", ".", ".."):
                raise ValueError(f"argument {match[1]!r} can't be {text!r}: it is a part of the path")
            return quote(text, safe="")

        return _NAMED.sub(look_up, self.path)

    def _write_body(self, of: dict[Place, list[tuple[Placement, Any]]], headers: dict[str, str]) -> bytes | None:
        whole = of.get("content")
        fields = {each.wire: value for each, value in of.get("body", [])}
        if whole is None and not fields:
            return None
        if whole is None and self.body == "form":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return urlencode([(name, _text(value)) for name, value in fields.items() if value is not None]).encode()
        headers["Content-Type"] = "application/json"
        return json.dumps(whole[0][1] if whole else fields, ensure_ascii=False).encode()


def _pairs(placement: Placement, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, list):
        yield placement.wire, _text(value)
    elif placement.explode:
        yield from ((placement.wire, _text(each)) for each in cast("list[Any]", value))
    else:
        yield placement.wire, ",".join(_text(each) for each in cast("list[Any]", value))


def _header_value(placement: Placement, value: Any) -> str:
    text = _text(value)
    if _UNSAFE.search(text) or not text.isascii():
        raise ValueError(f"argument {placement.argument!r} is sent in a header, which takes printable ASCII only")
    return text


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
