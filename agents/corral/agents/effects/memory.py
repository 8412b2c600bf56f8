"""Recalling and remembering."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from corral.agents.effects.passage import Passage
from corral.agents.stored import RECEIPT, RECOLLECTIONS
from corral.policy import Admission, Label, Spend

if TYPE_CHECKING:
    from corral.memory import Memory, Receipt, Recollection, Scope, Turn

__all__ = ["MemoryEffects"]


class MemoryEffects:
    """Recalls and remembers for one run, ahead of its first step and after its last."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    async def recall(self, memory: Memory, query: str, scope: Scope) -> list[Recollection]:
        """What memory knows about `query`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
        """
        passage = self._passage
        if (kept := passage.steps.recorded("memory/recall")) is not None:
            return self._recalled(passage.again(kept, RECOLLECTIONS, Spend()))

        async def effect(admission: Admission) -> list[Recollection]:
            return await passage.steps.call(
                "memory/recall",
                lambda: self._clean_all(memory.recall(query, scope, admission=admission)),
                codec=RECOLLECTIONS,
                effect="read",
            )

        action = memory.action("read", scope, arguments={"query": query})
        return self._recalled(await passage.perform("memory/recall", action, effect, Spend()))

    async def remember(self, memory: Memory, turns: Sequence[Turn], scope: Scope) -> Receipt:
        """Keep `turns`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
            UnknownOutcome: An earlier process was killed while it kept them.
        """
        passage = self._passage
        if (kept := passage.steps.recorded("memory/remember")) is not None:
            return passage.again(kept, RECEIPT, Spend())
        arguments = {"turns": [turn.text for turn in turns]}
        labels = {"turns": Label.join_all(turn.label for turn in turns)}

        async def effect(admission: Admission) -> Receipt:
            return await passage.steps.call(
                "memory/remember",
                lambda: memory.remember(turns, scope, admission=admission),
                codec=RECEIPT,
                effect="once",
            )

        action = memory.action("write", scope, arguments=arguments, labels=labels)
        return await passage.perform("memory/remember", action, effect, Spend())

    async def _clean_all(self, recalled: Awaitable[list[Recollection]]) -> list[Recollection]:
        return [replace(one, text=self._passage.redacted(one.text)) for one in await recalled]

    def _recalled(self, found: list[Recollection]) -> list[Recollection]:
        for recollection in found:
            self._passage.provenance.observe("memory:recalled", recollection.text, recollection.label)
        return found
