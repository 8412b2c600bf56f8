"""An open memory: the store and what stands on it, without gate or event loop. Every call blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corral.memory.database import Database
from corral.memory.decomposition import interleave
from corral.memory.embedder import Embedder
from corral.memory.episodes import Redact, clean
from corral.memory.errors import NotRemembered, Quarantined
from corral.memory.facts import Fact, Facts
from corral.memory.labels import may_see
from corral.memory.likeness import say_the_same
from corral.memory.reembedding import Reembedding
from corral.memory.scope import Scope
from corral.memory.search import Search
from corral.memory.selection import recollect, select
from corral.memory.shared import Shared, SharedStore
from corral.memory.store import Store
from corral.memory.tokens import TokenCounter
from corral.memory.turn import Receipt, Recollection
from corral.policy import Integrity

__all__ = ["DATABASE", "Opened"]

DATABASE = "memory.db"


class Opened:
    """One data folder, open.

    Args:
        folder: Made if it is missing; all that is ever written is in it.
    """

    def __init__(self, folder: Path, embedder: Embedder, shared: SharedStore | None = None) -> None:
        self.database = Database(folder / DATABASE)
        self.store = Store(self.database)
        self.search = Search(self.store, embedder)
        home = folder / "mem0"
        self.shared = None if shared is None else Shared(shared, self.search, home)
        self.facts = Facts(self.store, self.search, home, self.shared)
        self.reembedding = Reembedding(self.store, self.search)
        if self.store.stale(self.search.number, 1):
            self.reembedding.start()

    def recall(
        self,
        queries: Sequence[str],
        scope: Scope,
        *,
        k: int,
        budget: int,
        count: TokenCounter,
        now: float,
        untrusted: bool,
        facts_only: bool,
    ) -> list[Recollection]:
        space = self.store.space(scope)
        # Twice as many as asked for: some may be another reader's, or too long for the budget.
        rankings = [
            self.search.find(space, query, 2 * k, now=now, untrusted=untrusted, facts_only=facts_only)
            for query in queries
        ]
        found = rankings[0] if len(rankings) == 1 else list(interleave(rankings))
        elsewhere = self._elsewhere(queries, scope, k, budget, count, now=now, untrusted=untrusted)
        spent = sum(count(one.text) for one in elsewhere)
        return elsewhere + select(self.store, found, scope, k=k - len(elsewhere), budget=budget - spent, count=count)

    def _elsewhere(
        self,
        queries: Sequence[str],
        scope: Scope,
        k: int,
        budget: int,
        count: TokenCounter,
        *,
        now: float,
        untrusted: bool,
    ) -> list[Recollection]:
        """The facts alike that only the shared store has: at most a third of all, in half of the budget."""
        if self.shared is None:
            return []
        near = {row.uid: (row, cosine) for query in queries for row, cosine in self.shared.find(query, scope, k)}
        here = {row.uid for row in self.store.get(self.store.space(scope), near)}
        chosen: list[Recollection] = []
        left = budget // 2
        for row, cosine in sorted(near.values(), key=lambda one: -one[1]):
            trusted = untrusted or row.label.integrity > Integrity.UNTRUSTED
            in_force = row.expires is None or row.expires > now
            alike = cosine >= self.search.floor and trusted and in_force and may_see(row.label, scope)
            if row.uid in here or not alike or len(chosen) == max(1, k // 3) or count(row.text) > left:
                continue
            left -= count(row.text)
            chosen.append(recollect(row, scope, row.text, cosine, "alike in wording, in the shared store"))
        return chosen

    def get(self, uid: str, scope: Scope, *, facts_only: bool) -> Recollection:
        kinds = ("fact",) if facts_only else ("fact", "episode")
        rows = [row for row in self.store.get(self.store.space(scope), [uid]) if row.kind in kinds]
        if not rows or not may_see(rows[0].label, scope):
            raise NotRemembered(uid)
        return recollect(rows[0], scope, rows[0].text, 0.0, "its id")

    def learn(
        self, fact: Fact, scope: Scope, *, replaces: str | None, redact: Redact | None, likeness: bool = False
    ) -> Receipt:
        """Store a fact, unless it is known already.

        Args:
            likeness: Whether one that is nearly the same counts as known.

        Raises:
            Quarantined: Its label is untrusted.
            NotRemembered: There is no fact `replaces`.
        """
        if fact.label.integrity == Integrity.UNTRUSTED:
            raise Quarantined(fact.label.sources)
        space = self.store.space(scope)
        if replaces is not None and not any(row.kind == "fact" for row in self.store.get(space, [replaces])):
            raise NotRemembered(replaces)
        fact = replace(fact, text=clean(fact.text, redact))
        if not fact.text:
            return Receipt(skipped=1)
        known = self.store.alike(space, fact.text, "fact") or (self._nearly(space, fact) if likeness else None)
        uid = known or self.facts.add(fact, scope)
        if replaces is not None and replaces != uid:
            self.store.supersede(space, replaces, uid)
            if self.shared is not None:
                self.shared.drop([replaces])
        return Receipt((uid,), skipped=1 if known else 0)

    def _nearly(self, space: str, fact: Fact) -> str | None:
        found = self.search.find(space, fact.text, 5, now=fact.at, untrusted=False, facts_only=True)
        rows = self.store.at([place for place, _ in found])
        for place, _ in found:
            row = rows.get(place)
            if row is not None and say_the_same(fact.text, row.text, self.search.embed([fact.text, row.text])):
                return row.uid
        return None

    def edit(self, uid: str, text: str, scope: Scope, *, redact: Redact | None) -> None:
        self.facts.edit(uid, clean(text, redact), scope)

    def stats(self, scope: Scope | None) -> dict[str, Any]:
        counts = self.store.counts(None if scope is None else self.store.space(scope), self.search.number)
        return {**counts, "embedder": self.search.name}

    def close(self) -> None:
        self.reembedding.stop()
        self.facts.close()
        if self.shared is not None:
            self.shared.close()
        self.database.close()
