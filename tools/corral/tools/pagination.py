"""Lists in pages, by the conventions that most APIs keep: how the model asks for the next one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from corral.tools.observation import Json
from corral.tools.route import Route

__all__ = ["next_page"]

_TOKENS: Final = ("next_cursor", "nextCursor", "next_page_token", "nextPageToken", "next_token", "nextToken")
_LINKS: Final = ("next", "next_url", "nextLink", "@odata.nextLink", "next_page", "cursor")
_TAKES: Final = ("cursor", "page_token", "pageToken", "next_token", "nextToken", "starting_after", "after")
_ENVELOPES: Final = ("meta", "pagination", "paging", "page_info", "links", "_links", "response_metadata")
_MORE: Final = ("has_more", "hasMore", "has_next", "hasNextPage")
_LINK: Final = re.compile(r'<([^>]*)>[^,]*;\s*rel="?next"?', re.IGNORECASE)


def next_page(
    route: Route, schema: dict[str, Any], arguments: dict[str, Any], answer: Json | None, link: str | None
) -> str | None:
    """The changed arguments that give the next page, as JSON; None if there is none, or nobody can tell.

    Args:
        answer: The JSON that was answered.
        link: The response's Link header (RFC 8288).
    """
    if route.method != "GET":
        return None
    of = {place.wire: place.argument for place in route.placements if place.where == "query"}
    for changed in _candidates(of, arguments, answer, link):
        typed = {name: _typed(schema, name, value) for name, value in changed.items()}
        if typed and any(arguments.get(name) != value for name, value in typed.items()):
            return json.dumps(typed, ensure_ascii=False)
    return None


def _candidates(
    of: dict[str, str], arguments: dict[str, Any], answer: Json | None, link: str | None
) -> Iterator[dict[str, Any]]:
    if link is not None and (match := _LINK.search(link)):
        yield _in_url(of, match[1])
    if not isinstance(answer, dict):
        return
    takes = next((of[name] for name in _TAKES if name in of), None)
    for holder in (answer, *(cast("dict[str, Any]", answer[name]) for name in _ENVELOPES if name in answer)):
        if not isinstance(holder, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - a foreign answer
            continue
        for key in (*_TOKENS, *_LINKS):
            value: Any = holder.get(key)
            value = cast("dict[str, Any]", value).get("href") if isinstance(value, dict) else value
            if isinstance(value, str) and value:
                if "://" in value or value.startswith(("/", "?")):
                    yield _in_url(of, value)
                elif takes is not None:
                    yield {takes: value}
        if any(holder.get(key) is True for key in _MORE):
            yield from _counted(of, arguments, answer)


def _counted(of: dict[str, str], arguments: dict[str, Any], answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "page" in of:
        yield {of["page"]: int(arguments.get(of["page"]) or 1) + 1}
    if "offset" in of:
        lists = [cast("list[Any]", value) for value in answer.values() if isinstance(value, list)]
        if lists and lists[0]:
            yield {of["offset"]: int(arguments.get(of["offset"]) or 0) + len(lists[0])}


def _in_url(of: dict[str, str], url: str) -> dict[str, Any]:
    return {of[wire]: value for wire, value in parse_qsl(urlsplit(url).query) if wire in of}


def _typed(schema: dict[str, Any], name: str, value: Any) -> Any:
    """The text of a URL as the argument takes it."""
    part: Any = cast("dict[str, Any]", schema.get("properties") or {}).get(name)
    kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else None
    return int(value) if kind == "integer" and isinstance(value, str) and value.isdecimal() else value
