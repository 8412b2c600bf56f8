"""Clues in a query beside its words: who said it, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from corral.memory.lexical import content_words, words

__all__ = ["Clues", "read_clues"]

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
# "may" and "march" are also verbs: they count beside a number or after a word of time.
_VERBS: Final = {
    month: re.compile(rf"\b{month}\b[ ,]*\d|\d+(?:st|nd|rd|th)? (?:of )?{month}\b|\b(?:{_before}) {month}\b")
    for _before in ["in|of|on|last|this|next|since|until|till|during|early|late|mid|by|from|to|and"]
    for month in ("march", "may")
}
_SAID: Final = "said|say|told|tell|mentioned|asked|wrote|suggested|recommended|promised|answered|explained|proposed"
_BY_USER: Final = re.compile(rf"\b(?:i|we) (?:\w+ )?(?:{_SAID})\b|\bdid i\b")
_BY_AGENT: Final = re.compile(rf"\byou (?:\w+ )?(?:{_SAID})\b|\byour (?:answer|advice|suggestion|recommendation)\b")
_ROLES: Final = ("user", "agent")


@dataclass(frozen=True, slots=True)
class Clues:
    """What a query asks for.

    Attributes:
        terms: Words to look for; names of the actors are not among them.
        actors: Who is named, of those who ever spoke; lower case.
        months: 1 to 12.
    """

    terms: tuple[str, ...]
    actors: frozenset[str]
    months: frozenset[int]


def read_clues(query: str, actors: Iterable[str]) -> Clues:
    """The clues of `query`, given the `actors` (lower case) of the memory that is searched."""
    lower = query.lower()
    said = f" {' '.join(words(query))} "
    # The first look is cheap, as there may be thousands of actors.
    likely = (actor for actor in actors if actor not in _ROLES and actor.split(" ", 1)[0] in lower)
    named = {actor for actor in likely if f" {' '.join(words(actor)) or actor} " in said}
    parts = {part for actor in named for part in words(actor)}
    terms = tuple(word for word in content_words(query) if word not in parts)
    if not named:
        named = {role for role, pattern in zip(_ROLES, (_BY_USER, _BY_AGENT), strict=True) if pattern.search(lower)}
    return Clues(terms, frozenset(named), frozenset(_months(lower)))


def _months(query: str) -> Iterable[int]:
    for number, month in enumerate(_MONTHS, 1):
        if (_VERBS.get(month) or re.compile(rf"\b{month}\b")).search(query):
            yield number
