"""Consolidation: after a run, and never on the way of its reply, what was said becomes what is known."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy

from corral.agents.collaborators import Collaborators
from corral.agents.deadline import within
from corral.agents.effects import Effects
from corral.agents.errors import AgentError, DefinitionError
from corral.agents.hooks import Hooks, RunView
from corral.agents.journal import Journal
from corral.agents.memorymodel import MemoryQuestions
from corral.agents.model import Model, ModelSpec
from corral.agents.steps import InlineSteps
from corral.memory import ConsolidationBusy, ConsolidationFailed, MemoryFault, Pending, Receipt, Scope
from corral.policy import (
    Budget,
    BudgetExceeded,
    Consolidated,
    ConsolidationStarted,
    Denied,
    Emitter,
    Gate,
    Limits,
    Mode,
    Sink,
    Usage,
)

if TYPE_CHECKING:
    from corral.memory import Memory

__all__ = ["Consolidating", "Consolidation", "model_of"]

_FULL = 40
"""Turns that one question to the model holds."""
_LIMITS = Limits(steps=3, tokens=60_000, seconds=120.0)
"""Three whole questions, their answers with them."""


@dataclass(frozen=True, kw_only=True)
class Consolidation:
    """When an agent's memory is consolidated, by which model, and what that may cost.

    Attributes:
        after: New turns that facts may be drawn from. As many as one question holds cost the least for each turn, and
            until then nothing is missed: what was said is recalled as it was said.
        model: None is the agent's own; a cheaper one may do.
        limits: Of one consolidation, on top of the agent's own for a run.
        pause: Seconds before a model is asked again about turns with which one was of no help.
    """

    after: int = _FULL
    model: str | ModelSpec | Model | dspy.LM | None = None
    limits: Limits = _LIMITS
    pause: float = 3600.0

    def __post_init__(self) -> None:
        if self.after < 1 or self.pause < 0:
            raise DefinitionError("a consolidation is after 1 turn at least, and its pause is no negative time")

    def is_due(self, pending: Pending, now: float) -> bool:
        """Whether there is enough of it, and no model has just failed at it."""
        rested = pending.failed_at is None or now - pending.failed_at >= self.pause
        return rested and (pending.turns >= self.after or pending.more)

    def questions(self, pending: Pending) -> int:
        """How often a model is asked about it: not for the few turns that the next time fills up."""
        return max(1, pending.turns // _FULL)


class Consolidating:
    """The consolidation of one agent's memory: one at a time, as a task that the agent owns."""

    def __init__(self, wish: Consolidation | None) -> None:
        self.wish = wish
        self._model = None if wish is None or wish.model is None else model_of(wish.model)
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def after_run(self, given: Collaborators, model: Model, mode: Mode, sinks: Sequence[Sink]) -> None:
        """Begin, if it is wished, and if none goes on."""
        if self.wish is None or given.memory is None or (self._task is not None and not self._task.done()):
            return
        work = self._consolidate(self.wish, given, given.memory, self._model or model, mode, tuple(_hearing(sinks)))
        self._task = asyncio.create_task(work)

    async def end(self, timeout: float) -> None:
        """Wait for what goes on; after `timeout` seconds, or when this is cancelled, it is cancelled itself.

        What it has not done stays to be done.
        """
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return  # a loop that has ended cancelled it
        try:
            await asyncio.wait([task], timeout=timeout)
        finally:
            while not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def close(self) -> None:
        """Close the model that was made for it."""
        if self._model is not None:
            await self._model.close()

    async def _consolidate(
        self,
        wish: Consolidation,
        given: Collaborators,
        memory: Memory,
        model: Model,
        mode: Mode,
        sinks: tuple[Sink, ...],
    ) -> None:
        scope = Scope(given.user, given.name)
        emitter = Emitter(uuid.uuid4().hex, sinks)
        started, receipt, detail = time.monotonic(), Receipt(), ""
        questions: MemoryQuestions | None = None
        try:
            before = await memory.pending(scope)
            if not wish.is_due(before, time.time()):
                return
            effects, turns = _effects(wish, given, mode, emitter), before.turns
            questions = MemoryQuestions(model, effects, lambda: emitter.emit(ConsolidationStarted(turns=turns)))
            receipt = await _ask(questions, memory, scope, wish.questions(before))
        except ConsolidationBusy:
            return
        except ConsolidationFailed as error:
            receipt, detail = error.receipt, str(error.__cause__ or error)
        except (MemoryFault, AgentError, Denied, BudgetExceeded, TimeoutError) as error:
            detail = str(error) or "the time for it is over"
        if detail and detail == self._told and not (questions and questions.asked):
            return  # the same as after the last run, at no cost
        self._told = detail
        asked, usage = (questions.asked, questions.usage) if questions is not None else (0, Usage())
        emitter.emit(
            Consolidated(
                turns=receipt.turns,
                facts=len(receipt.ids),
                model_calls=asked,
                usage=usage,
                seconds=time.monotonic() - started,
                detail=detail,
            )
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Consolidating:
        # DSPy's optimisers copy agents: the copies have the same memory.
        return self


async def _ask(questions: MemoryQuestions, memory: Memory, scope: Scope, most: int) -> Receipt:
    """Consolidate, through the gate.

    Raises:
        TimeoutError: The time for it is over.
    """
    gate = questions.effects.gate
    steps = gate.budget.left("steps")
    most = most if steps is None else min(most, max(1, int(steps)))  # with none left, the gate says so
    action = memory.action("write", scope, layer="long", arguments={"consolidate": scope.namespace})
    with within(gate.budget.seconds_left()):
        return await gate.perform(
            action, lambda admission: memory.consolidate(questions, scope, most=most, admission=admission)
        )
    raise TimeoutError


def _effects(wish: Consolidation, given: Collaborators, mode: Mode, emitter: Emitter) -> Effects:
    """What it may cause: as much as a run of the agent, with nobody to ask."""
    limits = given.limits.narrowed(wish.limits)
    gate = Gate(
        given.policy,
        Budget(limits) if given.budget is None else given.budget.child(limits),
        audit=given.audit,
        emitter=emitter,
        mode=mode.narrowed(Mode.UNATTENDED),
        grants=given.grants,
        throttles=given.throttles,
    )
    principal = f"agent:{given.name}"
    hooks = Hooks(given.hooks, RunView(emitter.run_id, (principal,), given.user), emitter)
    steps = InlineSteps(emitter.run_id)
    return Effects(gate, steps, principal, f"user:{given.user}", hooks=hooks, redactor=given.redactor)


def model_of(given: str | ModelSpec | Model | dspy.LM) -> Model:
    """What was given as a model."""
    return given if isinstance(given, Model) else Model(given)


def _hearing(sinks: Sequence[Sink]) -> Iterator[Sink]:
    """Who hears of it, once each: not the journal, which keeps runs."""
    for place, sink in enumerate(sinks):
        if not isinstance(sink, Journal) and not any(sink is before for before in sinks[:place]):
            yield sink
