"""The words of a text as searches compare them: split out of names, without endings, and put together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["pairs", "split", "stem"]

# "PRs" is one word, "HTTPServer" two, "get_event2" three.
_WORD: Final = re.compile(r"[A-Z]{2,}s?(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]|\d+")
_APOSTROPHE: Final = re.compile(r"['\u2019](s|re|ve|ll|d|m|t)\b", re.IGNORECASE)
_LONGEST: Final = 2000
"""Characters of a text that are looked at."""
_VOWELS: Final = frozenset("aeiouy")
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ers", "ed", "er", "es", "s", "e")


def split(text: str) -> list[str]:
    """The words in their order, in small letters: those of camelCase and snake_case too."""
    return [_whole(word) for word in _WORD.findall(_APOSTROPHE.sub(" ", text[:_LONGEST]))]


def stem(word: str) -> str:
    """The word without a common English ending, so that "files" finds "file" and "creating" finds "create"."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            return _undouble(rest) if ending in ("ing", "ings", "ed", "er", "ers") else rest
    return word


def pairs(words: list[str]) -> Iterator[str]:
    """What two or three words that stand side by side may be when written as one: "pay slip", "get rid of"."""
    for length in (2, 3):
        for start in range(len(words) - length + 1):
            yield "".join(words[start : start + length])


def _whole(word: str) -> str:
    return (word[:-1] if word[-1] == "s" and word[:-1].isupper() and len(word) > 2 else word).lower()


def _undouble(word: str) -> str:
    """ "shipp" of "shipping" is "ship"; "call" of "calling" stays."""
    return word[:-1] if word[-1] == word[-2] and word[-1] not in "lsz" else word
