"""Decomposition: a question that needs several memories as several questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, TypeVar

from pydantic import TypeAdapter

from corral.memory.model import Model, read_json

__all__ = ["decompose", "interleave"]

T = TypeVar("T")

_MAX_PARTS: Final = 4
_STRINGS: Final = TypeAdapter(list[str])
_PROMPT: Final = """\
To answer the question below, notes of past conversations will be searched by their words, once for each search that you
name. Name at most {most} short searches that together find all that is needed; a question about one thing needs none.
Answer with a JSON array of strings only.

Question: {query}"""


async def decompose(query: str, model: Model) -> list[str]:
    """`query` and the searches that a model breaks it into; `query` alone when the model is of no help."""
    try:
        parts = read_json(await model(_PROMPT.format(most=_MAX_PARTS, query=query)), _STRINGS)
    except Exception:  # noqa: BLE001 - the model is foreign code, and recall works without it
        return [query]
    return list(dict.fromkeys((query, *(part.strip() for part in parts[:_MAX_PARTS] if part.strip()))))


def interleave(rankings: Sequence[Iterable[tuple[int, T]]]) -> Iterator[tuple[int, T]]:
    """The first of each ranking, then the second of each; what was there before is left out."""
    seen: set[int] = set()
    for rank in zip_longest(*rankings):
        for one in rank:
            if one is not None and one[0] not in seen:
                seen.add(one[0])
                yield one
