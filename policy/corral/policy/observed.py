"""What tools return, as the values and fields it is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

from corral.policy.label import Integrity
from corral.policy.manifest import OutputManifest

__all__ = ["parsed", "worth"]


def worth(value: Any, output: OutputManifest) -> Integrity:
    """Of a whole output: that of its least field."""
    structured = parsed(value)
    fields = [field for field in {str(key) for key in _keys(structured)} if _holds_values(structured, field)]
    return min((output.level(field) for field in fields), default=output.level(""))


def parsed(value: Any) -> Any:
    """A text that is JSON as that, everything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _keys(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _keys(item)


def _holds_values(value: Any, field: str) -> bool:
    """Whether a field somewhere holds a value of its own, and not only more fields."""
    if isinstance(value, dict):
        thing = cast("dict[str, Any]", value)
        if field in thing and not isinstance(thing[field], dict):
            return True
        return any(_holds_values(item, field) for item in thing.values())
    if isinstance(value, list | tuple):
        return any(_holds_values(item, field) for item in cast("list[Any]", value))
    return False
