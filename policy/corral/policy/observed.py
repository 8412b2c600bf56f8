"""What tools return, as the values and fields it is made of."""

from __future__ import annotations

import json
from typing import Any, cast

from corral.policy.label import Integrity
from corral.policy.manifest import OutputManifest

__all__ = ["parsed", "worth"]


def worth(value: Any, output: OutputManifest) -> Integrity:
    """Of a whole output: that of its least field."""
    return min((output.level(field) for field in _value_fields(parsed(value))), default=output.level(""))


def parsed(value: Any) -> Any:
    """A text that is JSON as that, everything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _value_fields(value: Any) -> set[str]:
    """The fields that hold a value of their own somewhere, and not only more fields."""
    found: set[str] = set()
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            for key, inner in cast("dict[Any, Any]", item).items():
                if not isinstance(inner, dict):
                    found.add(str(key))
                left.append(inner)
        elif isinstance(item, list | tuple):
            left.extend(cast("list[Any]", item))
    return found
