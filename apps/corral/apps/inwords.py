"""A run's inputs as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["in_words"]


def in_words(inputs: Mapping[str, Any]) -> str:
    """Inputs from a journal on one line, without the bytes of pictures."""
    return " ".join(" ".join(_words(value) for value in inputs.values()).split())


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_words(each) for each in cast("list[Any]", value))
    if isinstance(value, dict) and (told := _MEDIA.get(frozenset(cast("dict[str, Any]", value)))):
        return told
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_MEDIA = {
    frozenset({"url"}): "[picture]",
    frozenset({"data", "audio_format"}): "[sound]",
    frozenset({"file_data"}): "[file]",
    frozenset({"file_data", "filename"}): "[file]",
}
