"""Finding tools by words: BM25 over names, descriptions and parameters, with synonyms and words spelt alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, cast

from corral.tools.shape import parameters
from corral.tools.synonyms import synonyms_of
from corral.tools.tool import Effect, Tool
from corral.tools.words import pairs, split, stem

__all__ = ["SearchIndex"]

# The usual constants of BM25 (Robertson and Zaragoza 2009, §3.4).
_K1: Final = 1.2
_B: Final = 0.75
_NAME_WEIGHT: Final = 3
_BEGINNING: Final = 0.7
_ALIKE: Final = 0.6
_READING: Final = 1.15
"""By how much a tool that only reads comes before others that fit as well: looking is harmless."""
_READS: Final = frozenset(
    ("list", "get", "read", "fetch", "show", "view", "search", "find", "describe", "query", "lookup")
)
_MAX_WORDS: Final = 40
_SHORT: Final = 3
_LONG: Final = 30
_STOP: Final = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "for", "from", "has", "have", "i", "in"),
        *("into", "it", "its", "me", "my", "of", "on", "or", "that", "the", "this", "to", "our", "us", "we", "please"),
        *("will", "with", "you", "your", "given", "use", "tool", "returns", "return", "was", "were", "does", "did"),
    )
)


class SearchIndex:
    """The words of some tools, ready to be searched."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tuple(tools)
        self._counts = [Counter(_words_of(tool)) for tool in self._tools]
        self._priors = [_READING if _reads(tool) else 1.0 for tool in self._tools]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean = sum(self._lengths) / len(self._lengths) if self._lengths else 1.0
        documents = Counter(word for counts in self._counts for word in counts)
        total = len(self._tools)
        self._weights = {word: math.log(1 + (total - count + 0.5) / (count + 0.5)) for word, count in documents.items()}

    def search(self, query: str, limit: int = 5) -> list[Tool]:
        """The tools that fit the query's words best, best first; none that share no word with it."""
        wanted = list(self._meanings(query))
        scored = [(self._score(place, wanted), -place) for place in range(len(self._tools))]
        best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)[:limit]
        return [self._tools[-place] for _, place in best]

    def is_strange(self, query: str) -> bool:
        """Most of its words mean nothing here: whoever asks may know better ones."""
        asked = self._asked(query)
        return 2 * sum(not self._meant(word) for word in asked) > len(asked)

    def words(self, limit: int) -> list[str]:
        """What tools are called, the most frequent words first."""
        words = (word for tool in self._tools for word in dict.fromkeys(_plain(split(tool.name))) if len(word) > 1)
        return [word for word, _ in Counter(words).most_common(limit)]

    def _asked(self, query: str) -> list[str]:
        return list(dict.fromkeys(_plain(split(query)[:_MAX_WORDS])))

    def _meanings(self, query: str) -> Iterator[dict[str, float]]:
        """For each word of the query the words of tools that it may mean, and how likely."""
        yield from (self._meant(word) for word in self._asked(query))
        yield from (self._known(stem(word)) for word in dict.fromkeys(pairs(split(query)[:_MAX_WORDS])))

    def _meant(self, word: str) -> dict[str, float]:
        stemmed = stem(word)
        return self._known(stemmed) or (self._spelt_alike(stemmed) if _SHORT < len(word) < _LONG else {})

    def _known(self, stemmed: str) -> dict[str, float]:
        meant = {other: share for other, share in synonyms_of(stemmed).items() if other in self._weights}
        return {**meant, stemmed: 1.0} if stemmed in self._weights else meant

    def _spelt_alike(self, word: str) -> dict[str, float]:
        """A word that no tool has: "repo" begins "repository", and "dashbord" is a slip."""
        known = [each for each in self._weights if len(each) > _SHORT]
        if beginning := [each for each in known if each.startswith(word) or word.startswith(each)]:
            return dict.fromkeys(beginning, _BEGINNING)
        return dict.fromkeys(get_close_matches(word, known, n=3, cutoff=0.8), _ALIKE)

    def _score(self, place: int, wanted: Iterable[Mapping[str, float]]) -> float:
        counts = self._counts[place]
        damping = _K1 * (1 - _B + _B * self._lengths[place] / self._mean)
        return self._priors[place] * sum(
            max(
                (
                    share * self._weights[word] * counts[word] * (_K1 + 1) / (counts[word] + damping)
                    for word, share in meant.items()
                    if word in counts
                ),
                default=0.0,
            )
            for meant in wanted
        )


def _words_of(tool: Tool) -> Iterable[str]:
    name = split(f"{tool.name} {tool.resource.partition('/')[2]}")
    yield from (stem(word) for word in (*_plain(name), *pairs(name)) for _ in range(_NAME_WEIGHT))
    yield from _stems(tool.description)
    for parameter, (part, _) in parameters(tool.input_schema).items():
        yield from _stems(parameter)
        if isinstance(part, dict):
            schema = cast("dict[str, Any]", part)
            yield from _stems(str(schema.get("description") or ""))
            choices = schema.get("enum")
            if isinstance(choices, list):
                yield from _stems(" ".join(str(each) for each in cast("list[Any]", choices)[:30]))


def _reads(tool: Tool) -> bool:
    return tool.effect is Effect.READ or tool.read_only or not _READS.isdisjoint(split(tool.name))


def _stems(text: str) -> Iterator[str]:
    return (stem(word) for word in _plain(split(text)))


def _plain(words: list[str]) -> Iterator[str]:
    return (word for word in words if word not in _STOP)
