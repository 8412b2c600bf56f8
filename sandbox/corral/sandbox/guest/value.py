"""What of a Python value can leave a session: JSON, or a text that shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["VALUE_LIMIT", "cut", "plain"]

VALUE_LIMIT = 2 * 1024**2
"""Bytes of a value as JSON."""

TEXT_LIMIT = 256 * 1024
"""Characters that stay below that limit however they are escaped."""


def plain(value: Any) -> Any:
    """`value` if JSON can say it (a tuple as a list) in 2 MiB, else its repr, cut to 256 K characters."""
    size = _json_size(value, 0)
    if 0 <= size <= TEXT_LIMIT or (0 <= size <= VALUE_LIMIT and len(json.dumps(value)) <= VALUE_LIMIT):
        return value
    return cut(repr(value), TEXT_LIMIT)


def _json_size(value: Any, depth: int) -> int:
    """About how long `value` is as JSON; negative if it is not JSON."""
    kind = cast("type[object]", type(value))
    if value is None or kind is bool:
        return 5
    if kind is str:
        return len(value) + 2
    if kind is int:
        return value.bit_length() // 3 + 1 if value.bit_length() < 10_000 else -1
    if kind is float:
        return 24 if math.isfinite(value) else -1
    if depth > 100:
        return -1
    if kind in (list, tuple):
        return _total((_json_size(item, depth + 1) for item in value), 2)
    if kind is dict and all(type(key) is str for key in value):
        return _total((_json_size(item, depth + 1) + len(key) for key, item in value.items()), 2)
    return -1


def _total(sizes: Iterable[int], start: int) -> int:
    total = start
    for size in sizes:
        if size < 0 or total > VALUE_LIMIT:
            return -1
        total += size + 1
    return total


def cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"
