"""JSON values made fit for judging: copied so that nobody can change them afterwards, and written in one way only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["canonical", "frozen_json"]

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # json.dumps makes a new one at each call


def frozen_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `values` in plain JSON types; tuples become lists.

    Raises:
        TypeError: Something in it is no JSON value: what was judged could not be compared with what happens.
        RecursionError: It is nested too deep.
    """
    return {_key(name): _copy(value) for name, value in values.items()}


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII.

    Raises:
        TypeError: It is no JSON value.
    """
    return _ENCODER.encode(value)


def _copy(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple):
        return [_copy(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {_key(name): _copy(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _key(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a key is a {type(name).__name__} and no string")
    return str.__str__(name)
