"""Ranking: how well each row of a namespace answers a query.

The score is BM25, spread over the neighbouring turns, plus smaller parts for the vector, the actor, the month and the
session; the weights were found on LoCoMo (arXiv:2402.17753), see `benchmarks/memory_recall.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.bm25 import Lexical
from corral.memory.clues import Clues
from corral.memory.space import Space, signs
from corral.memory.view import View
from corral.policy import Integrity

__all__ = ["REACH", "Found", "Query", "rank"]

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

REACH: Final = 3
"""How many turns away a match still counts."""

# What a match adds to the turns after it and before it, at 1 to `REACH` turns: an answer follows its question.
_AFTER: Final = (0.4, 0.3, 0.1)
_BEFORE: Final = (0.3, 0.15, 0.1)
_DENSE_SPREAD: Final = 0.5
_ACTOR, _MONTH, _SESSION = 0.4, 0.4, 0.3
_SESSION_TURNS: Final = 3
_LEXICAL_CANDIDATES: Final = 1_000
_DENSE_CANDIDATES: Final = 200
_EXACT_CANDIDATES: Final = 100
_UNSURE: Final = 0.1
"""How far below the floor a cosine may seem to be that is reckoned from signs."""
_CHUNK: Final = 32_768
"""Rows that are compared at once, so that what is reckoned in between stays in the processor's cache."""
_TRUST: Final = np.array([0.6, 0.9, 0.95, 1.0], np.float32)
assert len(_TRUST) == len(Integrity)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and among which rows.

    Attributes:
        vector: (dim,), float32, unit length or zero.
        weight: What the best cosine adds, where the best BM25 adds 1.
        floor: The cosine that counts as a match without a common word.
        exact: The cosines of rows, where the space has but their signs and that is too little.
    """

    clues: Clues
    lexical: Lexical
    vector: NDArray[np.float32]
    view: View
    weight: float
    floor: float
    exact: Callable[[Rows], Floats] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the space, by index, with its score (0 to 1) and what it was found by.

    Attributes:
        beside: The rows next to it in its session, nearest first: one before, one after, two before ...
    """

    index: int
    score: float
    why: str
    beside: tuple[int, ...] = ()


def rank(space: Space, query: Query, limit: int) -> list[Found]:
    """The best `limit` rows that have anything to do with the query, best first; of equals, the newest first."""
    actors = [space.actors[name] for name in query.clues.actors]
    months = list(query.clues.months)
    if space.vectors is None:
        rows = _candidates(space, query, actors, months)
    else:
        rows = np.flatnonzero(query.view.shown).astype(np.int32)
    if not len(rows):
        return []
    scores, view = query.lexical.scores, query.view
    session = space.session[rows]
    exact, near = scores[rows], _spread(scores, rows, view)
    alike = np.zeros(len(space) + 1, np.float32)
    alike[rows] = _cosine(space, query.vector, rows)
    actor = np.isin(space.actor[rows], actors)
    month = np.isin(space.month[rows], months)
    prior = _session_prior(exact, session)
    rest = _unit(near) + _ACTOR * actor + _MONTH * month + _SESSION * prior
    trust = _TRUST[space.integrity[rows]] / (1 + query.weight + _ACTOR + _MONTH + _SESSION)
    score = (rest + query.weight * _unit(_spread(alike, rows, view, _DENSE_SPREAD))) * trust
    if query.exact is not None and space.vectors is None:
        # What only seems to be alike must not outrank what is: of the others, none is in question any more.
        likely = rows[np.argsort(-score, kind="stable")[: max(_EXACT_CANDIDATES, 2 * limit)]]
        sure = np.isin(rows, _with_neighbours(likely, view))
        rows, exact, near, prior = rows[sure], exact[sure], near[sure], prior[sure]
        actor, month = actor[sure], month[sure]
        alike = np.zeros(len(space) + 1, np.float32)
        alike[rows] = query.exact(rows)
        score = (rest[sure] + query.weight * _unit(_spread(alike, rows, view, _DENSE_SPREAD))) * trust[sure]
    dense = alike[rows]
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
        Found(row, float(score[i]), ", ".join(name for name, signal in signals.items() if signal[i]), beside)
        for i, row, beside in zip(best, rows[best].tolist(), _beside(rows[best], view), strict=True)
    ]


def _beside(rows: Rows, view: View) -> list[tuple[int, ...]]:
    found: list[Rows] = []
    before = after = rows
    for _ in range(REACH):
        before = np.where(before < 0, before, view.before[before])
        after = np.where(after < 0, after, view.after[after])
        found += (before, after)
    return [tuple(row for row in beside if row >= 0) for beside in np.stack(found, axis=1).tolist()]


def _cosine(space: Space, vector: NDArray[np.float32], rows: Rows) -> Floats:
    if space.vectors is not None:
        # Not `@`: threads of BLAS wait for each other for milliseconds when the machine is busy.
        return np.einsum("nd,d->n", space.vectors, vector)[rows]
    # The angle between two vectors shows in how many signs differ (Charikar 2002, random hyperplanes).
    return np.cos(_apart(space, vector, rows) * np.float32(np.pi / vector.size))


def _apart(space: Space, vector: NDArray[np.float32], rows: Rows | slice) -> NDArray[np.uint16]:
    """In how many signs the vectors of `rows` differ from `vector`."""
    assert space.bits is not None
    wanted = signs(vector[None])[0]
    apart = np.bitwise_count(space.bits[0][rows] ^ wanted[0]).astype(np.uint16)
    for column, word in zip(space.bits[1:], wanted[1:], strict=True):
        apart += np.bitwise_count(column[rows] ^ word)
    return apart


def _candidates(space: Space, query: Query, actors: list[int], months: list[int]) -> Rows:
    """The rows that may be among the best, and those beside them: of the rest of a large namespace none is scored."""
    # First of all, as rows that expired would take the places of others.
    rows = query.lexical.hits[query.view.shown[query.lexical.hits]]
    if len(rows) > _LEXICAL_CANDIDATES:
        worth = query.lexical.scores[rows]
        if actors or months:
            best = worth.max()
            worth += best * (_ACTOR * np.isin(space.actor[rows], actors) + _MONTH * np.isin(space.month[rows], months))
        # A row is a hit once for each of its words, so that these are some fewer.
        rows = rows[np.argpartition(worth, -_LEXICAL_CANDIDATES)[-_LEXICAL_CANDIDATES:]]
    return _with_neighbours(np.concatenate((rows, _nearest(space, query))), query.view)


def _with_neighbours(seeds: Rows, view: View) -> Rows:
    """The rows and those up to `REACH` turns away, once each and in order."""
    found = np.zeros(len(view.shown), np.bool_)
    found[seeds] = True
    for beside in (view.before, view.after):
        rows = seeds
        for _ in range(REACH):
            rows = beside[rows]
            rows = rows[rows >= 0]
            found[rows] = True
    return np.flatnonzero(found).astype(np.int32)


def _nearest(space: Space, query: Query) -> Rows:
    """The rows shown whose vectors are nearest, of those that are near enough to count as a match."""
    if not query.vector.any():
        return np.zeros(0, np.int32)
    most = int(np.arccos(query.floor - _UNSURE) / np.pi * query.vector.size)
    rows: Rows = np.zeros(0, np.int32)
    distances = np.zeros(0, np.uint16)
    for start in range(0, len(space), _CHUNK):
        apart = _apart(space, query.vector, slice(start, start + _CHUNK))
        near = np.flatnonzero((apart <= most) & query.view.shown[start : start + _CHUNK])
        if len(near):
            rows = np.concatenate((rows, (near + start).astype(np.int32)))
            distances = np.concatenate((distances, apart[near]))
            if len(rows) > 4 * _DENSE_CANDIDATES:
                best = np.argpartition(distances, _DENSE_CANDIDATES - 1)[:_DENSE_CANDIDATES]
                rows, distances = rows[best], distances[best]
                most = int(distances.max())
    return rows[np.argsort(distances, kind="stable")[:_DENSE_CANDIDATES]]


def _spread(scores: Floats, rows: Rows, view: View, share: float = 1) -> Floats:
    """The scores of `rows`, each with its share of those up to `REACH` turns away in its session.

    Args:
        scores: (n + 1,): the last is 0.
    """
    out = scores[rows].astype(np.float32)
    for beside, weights in ((view.before, _AFTER), (view.after, _BEFORE)):
        there = rows
        for weight in weights:
            # -1, of which there is none beside it, stays what it is.
            there = np.where(there < 0, there, beside[there])
            out += np.float32(share * weight) * scores[there]
    return out


def _session_prior(scores: Floats, session: NDArray[np.int32]) -> Floats:
    """0 to 1: the best turns of a row's session, against those of the best session; a fact is its own session."""
    hit = np.flatnonzero(scores)
    if not len(hit):
        return np.zeros(len(scores), np.float32)
    hit = hit[np.lexsort((-scores[hit], session[hit]))]
    codes = session[hit]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    nth = np.arange(len(hit)) - np.repeat(starts, np.diff(np.r_[starts, len(hit)]))
    counted = (nth < _SESSION_TURNS) & (codes >= 0)
    top = np.bincount(codes[counted], scores[hit][counted], minlength=int(session.max()) + 1)
    by_session = _unit(top)[session] if len(top) else np.zeros(len(scores), np.float32)
    return np.where(session >= 0, by_session, scores / scores.max())


def _unit(values: NDArray[np.floating] | NDArray[np.intp]) -> Floats:
    """`values` from 0 to 1; all 0 if they are equal."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return np.asarray((values - low) / (high - low), np.float32) if high > low else np.zeros(len(values), np.float32)


def _best(score: NDArray[np.floating], relevant: NDArray[np.bool_], rows: Rows, limit: int) -> NDArray[np.int64]:
    chosen = np.flatnonzero(relevant)
    if len(chosen) > limit:
        chosen = chosen[np.argpartition(-score[chosen], limit - 1)[:limit]]
    return chosen[np.lexsort((-rows[chosen], -score[chosen]))]
