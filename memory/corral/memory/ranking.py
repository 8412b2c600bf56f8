"""Ranking: how well each row of a namespace answers a query.

The score is BM25, spread over the neighbouring turns, plus smaller parts for the vector, the actor, the month and the
session; the weights were found on LoCoMo (arXiv:2402.17753), see `benchmarks/memory_recall.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.clues import Clues
from corral.memory.space import Space, signs
from corral.policy import Integrity

__all__ = ["REACH", "Found", "Query", "rank"]

Floats = NDArray[np.float64]

REACH: Final = 3
"""How many turns away a match still counts."""

# What a match adds to the turn `offset` places behind it: an answer follows its question.
_KERNEL: Final = {1: 0.4, -1: 0.3, 2: 0.3, -2: 0.15, 3: 0.1, -3: 0.1}
_DENSE_SPREAD: Final = 0.5
_ACTOR, _MONTH, _SESSION = 0.4, 0.4, 0.3
_SESSION_TURNS: Final = 3
_DENSE_CANDIDATES: Final = 200
_TRUST: Final = np.array([0.6, 0.9, 0.95, 1.0])
assert len(_TRUST) == len(Integrity)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and among which rows.

    Attributes:
        hits: Places in the store and BM25 scores.
        vector: (dim,), float32, unit length or zero.
        shown: bool, a row of the space each: which may be found at all.
        weight: What the best cosine adds, where the best BM25 adds 1.
        floor: The cosine that counts as a match without a common word.
    """

    clues: Clues
    hits: Sequence[tuple[int, float]]
    vector: NDArray[np.float32]
    shown: NDArray[np.bool_]
    weight: float
    floor: float


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the space, by index, with its score (0 to 1) and what it was found by."""

    index: int
    score: float
    why: str


def rank(space: Space, query: Query, limit: int) -> list[Found]:
    """The best `limit` rows that have anything to do with the query, best first; of equals, the newest first."""
    lexical = _lexical(space, query.hits)
    cosine = _cosine(space, query.vector)
    rows, places = _candidates(space, query.shown, lexical, cosine)
    if not len(rows):
        return []
    session = space.session[rows]
    exact, near = lexical[rows], _spread(lexical[rows], session, places)
    dense = cosine[rows]
    actor = np.isin(space.actor[rows], [space.actors[name] for name in query.clues.actors])
    month = np.isin(space.month[rows], list(query.clues.months))
    prior = _session_prior(exact, session)
    score = (
        _unit(near)
        + query.weight * _unit(_spread(dense, session, places, _DENSE_SPREAD))
        + _ACTOR * actor
        + _MONTH * month
        + _SESSION * prior
    ) * (_TRUST[space.integrity[rows]] / (1 + query.weight + _ACTOR + _MONTH + _SESSION))
    relevant = (near > 0) | (dense >= query.floor) | month
    best = _best(score, relevant, rows, limit)
    signals = {
        "its words": exact > 0,
        "the turns beside it": (near > 0) & (exact == 0),
        "alike in wording": dense >= query.floor,
        "who said it": actor,
        "its month": month,
        "its session": prior > 0.5,
    }
    return [
        Found(int(rows[i]), float(score[i]), ", ".join(name for name, signal in signals.items() if signal[i]))
        for i in best
    ]


def _lexical(space: Space, hits: Sequence[tuple[int, float]]) -> Floats:
    scores = np.zeros(len(space))
    if hits:
        ids, values = (np.array(column) for column in zip(*hits, strict=True))
        index = np.minimum(np.searchsorted(space.ids, ids), len(space) - 1)
        # A hit may be of another namespace, or written after the arrays were.
        known = space.ids[index] == ids
        scores[index[known]] = values[known]
    return scores


def _cosine(space: Space, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    if space.vectors is not None:
        # Not `@`: threads of BLAS wait for each other for milliseconds when the machine is busy.
        return np.einsum("nd,d->n", space.vectors, vector)
    assert space.bits is not None
    wanted = signs(vector[None])[0]
    apart = np.zeros(len(space), np.uint16)
    for word in range(space.bits.shape[1]):
        apart += np.bitwise_count(space.bits[:, word] ^ wanted[word])
    # The angle between two vectors shows in how many signs differ (Charikar 2002, random hyperplanes).
    return np.cos(apart * np.float32(np.pi / vector.size))


def _candidates(
    space: Space, shown: NDArray[np.bool_], lexical: Floats, cosine: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to score, session by session, and their places in that order.

    What isn't shown is not there at all: it takes no place, so that it changes no other row's score.
    """
    order = np.flatnonzero(shown) if space.order is None else space.order[shown[space.order]]
    if space.vectors is not None or not len(order):
        return order, np.arange(len(order))
    count = min(_DENSE_CANDIDATES, len(order))
    seeds = lexical[order] > 0
    seeds[np.argpartition(-cosine[order], count - 1)[:count]] = True
    chosen = seeds.copy()
    for distance in range(1, REACH + 1):
        chosen[distance:] |= seeds[:-distance]
        chosen[:-distance] |= seeds[distance:]
    places = np.flatnonzero(chosen)
    return order[places], places


def _spread(
    scores: NDArray[np.floating], session: NDArray[np.int32], places: NDArray[np.int64], share: float = 1
) -> Floats:
    """`scores`, each with its share of those up to `REACH` turns away in its session."""
    out = scores.astype(np.float64)
    for offset, weight in _KERNEL.items():
        distance = abs(offset)
        first, second = slice(None, -distance), slice(distance, None)
        together = (places[second] - places[first] == distance) & (session[second] == session[first])
        together &= session[first] >= 0
        to, by = (second, first) if offset > 0 else (first, second)
        out[to] += share * weight * scores[by] * together
    return out


def _session_prior(scores: Floats, session: NDArray[np.int32]) -> Floats:
    """0 to 1: the best turns of a row's session, against those of the best session; a fact is its own session."""
    hit = np.flatnonzero(scores)
    if not len(hit):
        return np.zeros(len(scores))
    hit = hit[np.lexsort((-scores[hit], session[hit]))]
    codes = session[hit]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    nth = np.arange(len(hit)) - np.repeat(starts, np.diff(np.r_[starts, len(hit)]))
    counted = (nth < _SESSION_TURNS) & (codes >= 0)
    top = np.bincount(codes[counted], scores[hit][counted], minlength=int(session.max()) + 1)
    by_session = _unit(top)[session] if len(top) else np.zeros(len(scores))
    return np.where(session >= 0, by_session, scores / scores.max())


def _unit(values: NDArray[np.floating] | NDArray[np.intp]) -> Floats:
    """`values` from 0 to 1; all 0 if they are equal."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return np.asarray((values - low) / (high - low), np.float64) if high > low else np.zeros(len(values))


def _best(score: Floats, relevant: NDArray[np.bool_], rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    chosen = np.flatnonzero(relevant)
    if len(chosen) > limit:
        chosen = chosen[np.argpartition(-score[chosen], limit - 1)[:limit]]
    return chosen[np.lexsort((-rows[chosen], -score[chosen]))]
