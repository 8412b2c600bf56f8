"""An open memory: the store and what stands on it, without gate or event loop. Every call blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from corral.memory.database import Database
from corral.memory.embedder import Embedder
from corral.memory.episodes import Redactor, clean
from corral.memory.errors import NotRemembered, Quarantined
from corral.memory.facts import Fact, Facts
from corral.memory.scope import Scope
from corral.memory.search import Search
from corral.memory.selection import select
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

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.database = Database(folder / DATABASE)
        self.store = Store(self.database)
        self.search = Search(self.store, embedder)
        self.facts = Facts(self.store, self.search, folder / "mem0")

    def recall(
        self,
        query: str,
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
        found = self.search.find(space, query, 2 * k, now=now, untrusted=untrusted, facts_only=facts_only)
        return select(self.store, found, scope, k=k, budget=budget, count=count, now=now, untrusted=untrusted)

    def learn(self, fact: Fact, scope: Scope, *, replaces: str | None, redact: Redactor | None) -> Receipt:
        """Store a fact, unless it is known already.

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
        known = self.store.alike(space, fact.text, "fact")
        uid = known or self.facts.add(fact, scope)
        if replaces is not None and replaces != uid:
            self.store.supersede(space, replaces, uid)
        return Receipt((uid,), skipped=1 if known else 0)

    def edit(self, uid: str, text: str, scope: Scope, *, redact: Redactor | None) -> None:
        self.facts.edit(uid, clean(text, redact), scope)

    def stats(self, scope: Scope | None) -> dict[str, Any]:
        return {**self.store.counts(None if scope is None else self.store.space(scope)), "embedder": self.search.name}

    def close(self) -> None:
        self.facts.close()
        self.database.close()
