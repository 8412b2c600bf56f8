"""Keeping secrets out of what others read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, cast

from pydantic import BaseModel

from corral.tools.long_text import LongText
from corral.tools.observation import Observation

__all__ = ["HIDDEN", "hide_anywhere", "hide_in_text", "hide_secrets", "readable"]

HIDDEN: Final = "[hidden]"
_MIN_LENGTH: Final = 6
"""Characters of the shortest secret that is looked for: a shorter one would blot out ordinary words."""


def readable(text: str, max_chars: int) -> str:
    """The beginning of what a stranger said, on one line and without what steers a terminal."""
    line = " ".join(text[: 4 * max_chars].split())
    return "".join(character if character.isprintable() else "\ufffd" for character in line)[:max_chars]


def hide_in_text(text: str, secrets: Iterable[str]) -> str:
    """`text` with each of the secrets replaced; the longer ones first, as one may contain another."""
    for secret in sorted({each for each in secrets if len(each) >= _MIN_LENGTH}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def hide_secrets(observation: Observation, secrets: Iterable[str]) -> Observation:
    """The observation without the secrets that were sent to its source: some servers echo what they are sent."""
    known = tuple(secrets)
    if not known:
        return observation
    return replace(
        observation,
        text=hide_in_text(observation.text, known),
        whole=_hide_in_whole(observation.whole, known),
        structured=hide_anywhere(observation.structured, known),
        contents=tuple(hide_anywhere(content, known) for content in observation.contents),
    )


def _hide_in_whole(whole: str | LongText | None, secrets: tuple[str, ...]) -> str | LongText | None:
    if not isinstance(whole, LongText):
        return None if whole is None else hide_in_text(whole, secrets)
    looked_for = sorted({each for each in secrets if len(each) >= _MIN_LENGTH}, key=len, reverse=True)
    if not looked_for:
        return whole
    pattern = re.compile("|".join(map(re.escape, looked_for)))
    return whole.rewritten(
        lambda text: ((match.start(), match.end(), HIDDEN) for match in pattern.finditer(text)), len(looked_for[0])
    )


def hide_anywhere(value: Any, secrets: tuple[str, ...]) -> Any:
    """The value, JSON or a model of it, with each of the secrets replaced wherever it stands."""
    if isinstance(value, str):
        return hide_in_text(value, secrets)
    if isinstance(value, list):
        return [hide_anywhere(each, secrets) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        named = cast("dict[Any, Any]", value)
        return {hide_anywhere(key, secrets): hide_anywhere(each, secrets) for key, each in named.items()}
    if isinstance(value, BaseModel):
        dumped = value.model_dump()
        hidden = hide_anywhere(dumped, secrets)
        return value if hidden == dumped else type(value).model_validate(hidden)
    return value
