"""How values are written in paths, queries, headers and cookies (OpenAPI 3.1.1 §4.8.12.2, after RFC 6570)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal, cast
from urllib.parse import quote

__all__ = ["Style", "as_text", "in_path", "in_query", "simple"]

Style = Literal["form", "deep", "spaces", "pipes", "tabs", "json", "simple", "label", "matrix"]
_SEPARATORS: Final[dict[Style, str]] = {"spaces": " ", "pipes": "|", "tabs": "\t"}


def as_text(value: Any) -> str:
    """A value as it stands in a URL or a form: a string as it is, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def simple(value: Any, *, explode: bool = False) -> str:
    """With commas, "a,b"; an object as "key,value" or, exploded, "key=value"."""
    return ",".join(_items(value, explode))


def in_path(name: str, value: Any, style: Style, *, explode: bool) -> str:
    """A part of a path, escaped.

    Raises:
        ValueError: It would be none, or lead elsewhere.
    """
    text = simple(value, explode=explode)
    if text in ("", ".", ".."):
        raise ValueError(f"argument {name!r} can't be {text!r}: it is a part of the path")
    if style == "json":
        return quote(json.dumps(value, ensure_ascii=False), safe="")
    items = [quote(each, safe="=" if explode and isinstance(value, dict) else "") for each in _items(value, explode)]
    if style == "label":
        return "." + ("." if explode else ",").join(items)
    if style != "matrix":
        return ",".join(items)
    if not explode or not isinstance(value, list | dict):
        return f";{name}={','.join(items)}"
    return "".join(f";{each}" if isinstance(value, dict) else f";{name}={each}" for each in items)


def in_query(name: str, value: Any, style: Style, *, explode: bool) -> Iterator[tuple[str, str]]:
    """The pairs of a query, unescaped."""
    if value is None:
        return
    if style == "json":
        yield name, json.dumps(value, ensure_ascii=False)
    elif style == "deep":
        yield from _deep(name, value)
    elif isinstance(value, dict) and explode:
        yield from ((key, as_text(each)) for key, each in cast("dict[str, Any]", value).items())
    elif isinstance(value, list) and explode and style == "form":
        yield from ((name, as_text(each)) for each in cast("list[Any]", value))
    else:
        yield name, _SEPARATORS.get(style, ",").join(_items(value, explode=False))


def _items(value: Any, explode: bool) -> list[str]:
    if isinstance(value, list):
        return [as_text(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        pairs = [(key, as_text(each)) for key, each in cast("dict[str, Any]", value).items()]
        return [f"{key}={each}" for key, each in pairs] if explode else [part for pair in pairs for part in pair]
    return [as_text(value)]


def _deep(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """ "filter[owner][name]=mo"; a list is one pair for each value."""
    if isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield from _deep(f"{name}[{key}]", each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _deep(name, each)
    else:
        yield name, as_text(value)
