"""Where the arguments of a tool go in an HTTP request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from corral.tools.body import Body
from corral.tools.styles import Style, in_path, in_query, simple

__all__ = ["NAMED", "Message", "Place", "Placement", "Route"]

Place = Literal["path", "query", "header", "cookie", "body", "content"]
NAMED: Final = re.compile(r"\{([^{}/]+)\}")
"""A part of a path that an argument fills in."""
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Placement:
    """One argument's place.

    Attributes:
        argument: Its name in the call.
        where: "content" is the whole body, "body" one field of it.
        wire: Its name in the request.
        explode: Each value of a list or object stands for itself, as `style` has it.
        style: How lists and objects are written.
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
    body: Body = field(default_factory=Body)

    def fill(self, arguments: dict[str, Any]) -> Message:
        """The request for a call.

        Raises:
            ValueError: An argument has no place in a URL or header; the message is for the model.
        """
        placed = [(each, arguments[each.argument]) for each in self.placements if each.argument in arguments]
        of: dict[Place, list[tuple[Placement, Any]]] = {}
        for placement, value in placed:
            of.setdefault(placement.where, []).append((placement, value))
        target = self._fill_path({each.wire: (each, value) for each, value in of.get("path", [])})
        query = [
            pair
            for each, value in of.get("query", [])
            for pair in in_query(each.wire, value, each.style, explode=each.explode)
        ]
        headers = {each.wire: _header_value(each, value) for each, value in of.get("header", []) if value is not None}
        cookies = [f"{each.wire}={quote(simple(value), safe=',')}" for each, value in of.get("cookie", [])]
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        content = self._write_body(of, headers)
        return Message(self.method, target + (f"?{urlencode(query)}" if query else ""), headers, content)

    def _fill_path(self, values: dict[str, tuple[Placement, Any]]) -> str:
        def look_up(match: re.Match[str]) -> str:
            placement, value = values.get(match[1], (Placement(match[1], "path", match[1]), None))
            return in_path(match[1], value, placement.style, explode=placement.explode)

        return NAMED.sub(look_up, self.path)

    def _write_body(self, of: dict[Place, list[tuple[Placement, Any]]], headers: dict[str, str]) -> bytes | None:
        whole, fields = of.get("content"), {each.wire: value for each, value in of.get("body", [])}
        if whole is None and not fields:
            return None
        headers["Content-Type"], content = self.body.write(whole[0][1] if whole else fields)
        return content


def _header_value(placement: Placement, value: Any) -> str:
    text = simple(value, explode=placement.explode)
    if _UNSAFE.search(text) or not text.isascii():
        raise ValueError(f"argument {placement.argument!r} is sent in a header, which takes printable ASCII only")
    return text
