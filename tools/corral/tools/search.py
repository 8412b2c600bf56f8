"""Finding tools by words: BM25 over names, descriptions and parameters."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

from corral.tools.shape import parameters
from corral.tools.synonyms import GROUPS
from corral.tools.tool import Tool

__all__ = ["SearchIndex"]

# The usual constants of BM25 (Robertson and Zaragoza 2009, §3.4).
_K1: Final = 1.2
_B: Final = 0.75
_NAME_WEIGHT: Final = 3
_PARAMETER_WEIGHT: Final = 1
_SYNONYM_SHARE: Final = 0.5
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_STOP: Final = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "for", "from", "has", "have", "how", "i", "in"),
        *("into", "is", "it", "its", "me", "my", "of", "on", "or", "that", "the", "this", "to", "what", "when"),
        *("where", "who", "will", "with", "you", "your", "given", "use", "tool", "returns", "return"),
    )
)
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ers", "ed", "er", "es", "s", "e")


class SearchIndex:
    """The words of some tools, ready to be searched."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tuple(tools)
        self._counts = [Counter(_words_of(tool)) for tool in self._tools]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean = sum(self._lengths) / len(self._lengths) if self._lengths else 1.0
        documents = Counter(word for counts in self._counts for word in counts)
        total = len(self._tools)
        self._weights = {word: math.log(1 + (total - count + 0.5) / (count + 0.5)) for word, count in documents.items()}

    def search(self, query: str, limit: int = 5) -> list[Tool]:
        """The tools that fit the query's words best, best first; none that share no word with it."""
        words = _weigh(query)
        scored = [(self._score(place, words), -place) for place in range(len(self._tools))]
        best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)[:limit]
        return [self._tools[-place] for _, place in best]

    def _score(self, place: int, words: Mapping[str, float]) -> float:
        counts = self._counts[place]
        damping = _K1 * (1 - _B + _B * self._lengths[place] / self._mean)
        return sum(
            share * self._weights[word] * counts[word] * (_K1 + 1) / (counts[word] + damping)
            for word, share in words.items()
            if word in counts
        )


def _weigh(query: str) -> dict[str, float]:
    """The query's words, and with less weight those that may stand for them."""
    words = set(_split(query))
    weighed = dict.fromkeys((other for word in words for other in _synonyms().get(word, ())), _SYNONYM_SHARE)
    return weighed | dict.fromkeys(words, 1.0)


@cache
def _synonyms() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in GROUPS:
        stems = {_stem(word) for word in group}
        for stem in stems:
            found.setdefault(stem, set()).update(stems)
    return {stem: frozenset(others) for stem, others in found.items()}


def _words_of(tool: Tool) -> Iterable[str]:
    name = _split(f"{tool.name} {tool.resource.partition('/')[2]}")
    yield from name * _NAME_WEIGHT
    yield from _split(tool.description)
    for parameter, (part, _) in parameters(tool.input_schema).items():
        yield from _split(parameter) * _PARAMETER_WEIGHT
        if isinstance(part, dict):
            schema = cast("dict[str, Any]", part)
            yield from _split(str(schema.get("description") or ""))
            choices = schema.get("enum")
            if isinstance(choices, list):
                yield from _split(" ".join(str(each) for each in cast("list[Any]", choices)[:30]))


def _split(text: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(text)]
    return [_stem(word) for word in words if word not in _STOP]


def _stem(word: str) -> str:
    """The word without a common English ending, so that "files" finds "file" and "creating" finds "create"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
