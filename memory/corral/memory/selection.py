"""Selection: what of the ranked rows is recalled within a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from corral.memory.labels import may_see, recalled_label
from corral.memory.ranking import REACH, Found
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
    now: float,
    untrusted: bool,
) -> list[Recollection]:
    """Up to `k` of what was found, best first; then, while the budget lasts, the turns beside them."""
    rows = store.at([place for place, _ in found])
    chosen: list[Recollection] = []
    taken: list[Row] = []
    left = budget
    for place, one in found:
        row = rows.get(place)
        if row is None or not may_see(row.label, scope):
            continue
        if len(chosen) == k:
            break
        text = clip(row.text, budget if k == 1 else int(budget * _LARGEST_SHARE), count)
        if text and count(text) <= left:
            left -= count(text)
            chosen.append(recollect(row, scope, text, one.score, one.why))
            taken.append(row)
    for row in _beside(store, taken, untrusted):
        if count(row.text) > left:
            break
        if (row.expires is None or row.expires > now) and may_see(row.label, scope):
            left -= count(row.text)
            chosen.append(recollect(row, scope, row.text, 0.0, "beside a match"))
    return chosen


def _beside(store: Store, taken: Sequence[Row], untrusted: bool) -> Iterable[Row]:
    """The turns within reach of those taken, nearest first, of the best first."""
    seen = {row.id for row in taken}
    around = [store.beside(row, REACH, untrusted) if row.kind == "episode" else {} for row in taken]
    for distance in range(1, REACH + 1):
        for turns in around:
            for offset in (-distance, distance):
                row = turns.get(offset)
                if row is not None and row.id not in seen:
                    seen.add(row.id)
                    yield row


def recollect(row: Row, scope: Scope, text: str, score: float, why: str) -> Recollection:
    """`row` as it comes out of the memory of `scope`."""
    kind = "fact" if row.kind == "fact" else "episode"
    label = recalled_label(row.label, scope.resource("long" if kind == "fact" else "episodic"))
    return Recollection(row.uid, text, kind, row.actor, row.at, row.session, round(score, 4), label, why)
