"""Memory around a run: recall before its first step, remember after its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from corral.agents.effects import Effects
from corral.agents.errors import AgentError, UnknownOutcome
from corral.memory import MemoryFault, Turn
from corral.policy import BudgetExceeded, Denied, Emitter, Label, Recalled, Remembered

if TYPE_CHECKING:
    from corral.memory import Memory, Scope

__all__ = ["RUN_SCOPE", "Remembering"]

RUN_SCOPE: ContextVar[Scope | None] = ContextVar("RUN_SCOPE", default=None)
"""Where in a memory the run that goes on is: what its tools keep is of its session."""


class Remembering:
    """What one run recalls and remembers: nothing without a memory, and nothing that the policy refuses."""

    def __init__(
        self, memory: Memory | None, task: str, label: Label, scope: Scope, effects: Effects, emitter: Emitter
    ) -> None:
        self._memory = memory
        self._task = task
        self._label = label
        self._scope = scope
        self._effects = effects
        self._emitter = emitter

    async def before(self, said: Sequence[str] = ()) -> str:
        """The task as the model reads it: first what memory knows about it, marked as data.

        Args:
            said: The conversation so far; what was said in this session and still stands there is not recalled.

        Raises:
            AgentError: The memory can't be used.
        """
        RUN_SCOPE.set(self._scope)
        if self._memory is None:
            return self._task
        try:
            found = await self._effects.memory.recall(self._memory, self._task, self._scope)
        except (Denied, BudgetExceeded):
            return self._task
        except MemoryFault as error:
            raise AgentError(f"the memory can't be used: {error}") from error
        here = self._scope.session
        found = [one for one in found if one.session != here or not any(one.text in text for text in said)]
        self._emitter.emit(Recalled(query=self._task, count=len(found)))
        block = self._memory.render(found)
        return f"{block}\n\n{self._task}" if block else self._task

    async def after(self, outputs: Mapping[str, Any] | None) -> str:
        """Keep the turn: the task is whose it is, the answer as trusted as all that the model had read.

        Returns:
            Why it could not be kept, for a person; empty if nothing is wrong. An answer is not lost over it.
        """
        if self._memory is None or outputs is None:
            return ""
        answer = "\n".join(str(value) for value in outputs.values())
        turns = [Turn("user", self._task, self._label), Turn("agent", answer, self._effects.seen)]
        try:
            receipt = await self._effects.memory.remember(self._memory, turns, self._scope)
        except (Denied, BudgetExceeded):
            return ""
        except MemoryFault as error:
            return f"the turn was not remembered: {error}"
        except UnknownOutcome:
            return "whether the turn was remembered is not known: the run was interrupted while it was"
        self._emitter.emit(Remembered(count=len(receipt.ids)))
        return ""
