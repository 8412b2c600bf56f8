"""Selection: what of the ranked rows is recalled within a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

from corral.memory.labels import may_see, recalled_label
from corral.memory.ranking import Found
from corral.memory.row import Row
from corral.memory.scope import Scope
from corral.memory.store import Store
from corral.memory.tokens import TokenCounter, clip
from corral.memory.turn import Recollection

__all__ = ["recollect", "select"]

_LARGEST_SHARE: Final = 0.5
"""The most of the budget that one recollection may take."""


def select(
    store: Store,
    found: Sequence[tuple[int, Found]],
    scope: Scope,
    *,
    k: int,
    budget: int,
    count: TokenCounter,
) -> list[Recollection]:
    """Up to `k` of what was found, best first; then, while the budget lasts, the turns beside them."""
    rows = store.at([place for place, _ in found])
    chosen: list[Recollection] = []
    taken: list[Found] = []
    left = budget
    for place, one in found:
        row = rows.get(place)
        if row is None or not may_see(row.label, scope):
            continue
        if len(chosen) == k:
            break
        text = clip(row.text, budget if k == 1 else int(budget * _LARGEST_SHARE), count)
        tokens = count(text)
        if text and tokens <= left:
            left -= tokens
            chosen.append(recollect(row, scope, text, one.score, one.why))
            taken.append(one)
    seen = {one.id for one in chosen}
    for row in _beside(store, taken):
        tokens = count(row.text)
        if tokens > left:
            break
        if row.uid not in seen and may_see(row.label, scope):
            left -= tokens
            chosen.append(recollect(row, scope, row.text, 0.0, "beside a match"))
    return chosen


def _beside(store: Store, taken: Sequence[Found]) -> Iterable[Row]:
    """The turns within reach of those taken, nearest first, of the best first."""
    places = list(
        dict.fromkeys(place for turn in zip_longest(*(one.beside for one in taken)) for place in turn if place)
    )
    rows = store.at(places)
    return (rows[place] for place in places if place in rows)


def recollect(row: Row, scope: Scope, text: str, score: float, why: str) -> Recollection:
    """`row` as it comes out of the memory of `scope`."""
    kind = "fact" if row.kind == "fact" else "episode"
    label = recalled_label(row.label, scope.resource("long" if kind == "fact" else "episodic"))
    return Recollection(row.uid, text, kind, row.actor, row.at, row.session, round(score, 4), label, why)
