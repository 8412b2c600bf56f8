"""BM25 (Robertson and Walker) over the rows of one namespace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.lexical import index_word
from corral.memory.space import Space
from corral.memory.store import Store

__all__ = ["Lexical", "bm25"]

_K1: Final = 0.8
_B: Final = 0.5
_LEAST_IDF: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Lexical:
    """How well the words of each row answer a query.

    Attributes:
        scores: (n + 1,), float32, a row each; the last is 0, so that the row -1, which is none, has nothing to say.
        hits: int32, the rows that have any score; some more than once, hidden ones too.
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.int32]


def bm25(space: Space, store: Store, terms: Sequence[str], *, untrusted: bool) -> Lexical:
    """Score the rows of `space` by `terms`. A word counts once in a row, so that repeating it gains nothing.

    Args:
        untrusted: Whether quarantined rows are scored too; otherwise they change no other's score.
    """
    count, words = space.size(untrusted)
    scores = np.zeros(len(space) + 1, np.float32)
    hits: list[NDArray[np.int32]] = []
    for term in terms:
        for trusted in (True, False) if untrusted else (True,):
            hits.append(space.postings.rows(store, index_word(space.key, trusted, term), space.last))
        rows = hits[-1] if not untrusted else np.concatenate(hits[-2:])
        if not len(rows):
            continue
        idf = max(math.log((count - len(rows) + 0.5) / (len(rows) + 0.5)), _LEAST_IDF)
        length = space.words[rows] * np.float32(_K1 * _B / max(words, 1.0)) + np.float32(_K1 * (1 - _B) + 1)
        scores[rows] += np.float32(idf * (_K1 + 1)) / length
    return Lexical(scores, np.concatenate(hits) if hits else np.zeros(0, np.int32))
