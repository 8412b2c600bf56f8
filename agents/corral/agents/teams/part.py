"""Parts: several agents that answer as one, to a person as to another agent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import anyio
import dspy

from corral.agents.caller import CALLER, POOL, spending_from
from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result, StopReason
from corral.agents.signature import TaskSignature
from corral.agents.start import Start
from corral.agents.taskmodule import TaskModule
from corral.policy import Budget, BudgetExceeded, Denied, Label, Limits, Spend, Usage

__all__ = ["Ask", "Part"]


class Ask:
    """Runs members, and keeps what each came to; a member that fails is a result with the reason."""

    def __init__(self, traced: bool = False) -> None:
        self.results: list[Result] = []
        self._traced = traced

    async def __call__(self, member: Member, inputs: Mapping[str, Any]) -> Result:
        """What `member` comes to, given those of `inputs` that it takes."""
        given = {name: inputs[name] for name in member.signature.inputs if name in inputs}
        try:
            result = await member.start(None, given, Start())
        except Exception as error:  # noqa: BLE001 - whatever a member fails with, the others may go on
            result = made(None, f"{member.name}: {error}")
        self.results.append(result)
        if self._traced:
            _trace(member, given, result)
        return result

    async def all(self, asked: Sequence[tuple[Member, Mapping[str, Any]]], at_once: int) -> list[Result]:
        """What each comes to, in this order, with at most `at_once` at the same time."""
        results: list[Result | None] = [None] * len(asked)
        limiter = anyio.CapacityLimiter(at_once)

        async def one(place: int, member: Member, inputs: Mapping[str, Any]) -> None:
            async with limiter:
                results[place] = await self(member, inputs)

        async with anyio.create_task_group() as group:
            for place, (member, inputs) in enumerate(asked):
                group.start_soon(one, place, member, inputs)
        return [result for result in results if result is not None]


class Part(TaskModule):
    """Several members that answer as one. What kind of team it is, `answer` says.

    It is a member itself, and a DSPy module whose predictors are those of its members. Everything that they spend comes
    from one budget; under an agent that is the agent's, and its rights are theirs too. To be resumed as a whole, it has
    to work for an agent; alone, each member's run is its own.

    Args:
        name: What rules call it, "agent:NAME", where it is delegated to.
        description: For the models that may call it.
        limits: Caps of all members together.
        budget: What all runs of it spend from together.
    """

    def __init__(
        self,
        *members: Member,
        name: str,
        description: str = "",
        limits: Limits | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - DSPy's own is not annotated
        if not members:
            raise DefinitionError(f"{type(self).__name__} takes the agents that it is made of")
        for member in members:
            if not isinstance(member, Member):  # pyright: ignore[reportUnnecessaryIsInstance] - callers have no checker
                raise DefinitionError(f"{member!r} is no agent")
        self.members = list(members)
        self.name = name
        self.description = description or members[0].description
        self.limits = limits or Limits()
        self._budget = budget

    @property
    def signature(self) -> TaskSignature:
        """What it takes and gives: by default what its first member does."""
        return self.members[0].signature

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        """What it comes to, by asking its members."""
        raise NotImplementedError

    async def start(self, task: Any, inputs: Mapping[str, Any], start: Start) -> Result:
        """`run`, as a member."""
        return await self._start(self.bind(task, inputs), Ask())

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The outputs as DSPy sees them; None for each when there was no answer."""
        result = await self._start(self.bind(None, inputs), Ask(traced=True))
        return dspy.Prediction(**(result.outputs or dict.fromkeys(self.signature.outputs)))

    async def _start(self, inputs: dict[str, Any], ask: Ask) -> Result:
        caller = CALLER.get()
        if caller is None:
            return await self._answer(ask, inputs, self._checked(POOL.get()) or self._budget)
        try:
            budget = self._checked(POOL.get() or caller.gate.budget)
            return await caller.delegate(self.name, inputs, lambda: self._answer(ask, inputs, budget))
        except (Denied, BudgetExceeded) as error:
            return Result.not_started("", error)

    def _checked(self, above: Budget | None) -> Budget | None:
        if above is not None and self._budget is not None and not above.is_within(self._budget):
            raise DefinitionError(
                f"{self.name!r} has a budget of its own, and another agent pays for it; give the budget to that one"
            )
        return above

    async def _answer(self, ask: Ask, inputs: dict[str, Any], above: Budget | None) -> Result:
        started = time.perf_counter()
        budget = Budget(self.limits) if above is None else above.child(self.limits)
        with spending_from(budget):
            result = await self.answer(ask, inputs)
        return replace(
            result,
            usage=sum((one.usage for one in ask.results), Usage()),
            spent=budget.spent if above is None else sum((one.spent for one in ask.results), Spend()),
            steps=sum(one.steps for one in ask.results),
            tool_calls=sum(one.tool_calls for one in ask.results),
            seconds=time.perf_counter() - started,
            unknown=tuple(step for one in ask.results for step in one.unknown),
            label=Label.join_all(one.label for one in ask.results),
        )


def made(outputs: dict[str, Any] | None, detail: str, reason: StopReason = StopReason.ERROR) -> Result:
    """A result that is no member's own; what it cost is added where it is given back."""
    return Result(uuid.uuid4().hex, reason, outputs, "", Usage(), 0, 0, 0.0, detail)


def _trace(member: Member, inputs: Mapping[str, Any], result: Result) -> None:
    """Let optimisers see what a member was asked, and what it said."""
    trace: Any = cast("Any", dspy).settings.trace
    predict: Any = getattr(member, "predict", None)
    if trace is not None and predict is not None:
        outputs = result.outputs or dict.fromkeys(member.signature.outputs)
        trace.append((predict, dict(inputs), dspy.Prediction(**outputs)))
