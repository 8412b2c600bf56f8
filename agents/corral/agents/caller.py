"""Callers: the run that is calling, and what of it the runs that start below it inherit."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from pydantic_core import to_jsonable_python

from corral.agents.errors import DefinitionError
from corral.agents.nested import NestedSteps
from corral.agents.rights import Layer, Rights
from corral.agents.steps import AT_STEP
from corral.policy import (
    Action,
    Admission,
    Budget,
    Gate,
    Layers,
    Ledger,
    Mode,
    Policy,
    Quotas,
    RateLimits,
    Sink,
    Spend,
    Throttle,
    Traces,
    Usage,
)

if TYPE_CHECKING:
    from dspy.lm15 import Request

    from corral.agents.collaborators import Collaborators
    from corral.agents.generation import Generation
    from corral.agents.life import Life
    from corral.agents.model import Model
    from corral.agents.start import Start

__all__ = ["CALLER", "POOL", "Ask", "Below", "Caller", "sharing", "spending_from", "throttles_of"]

T = TypeVar("T")

Ask: TypeAlias = "Callable[[Model, Request, Below], Awaitable[Generation]]"
"""Asks a model as a run does; what it costs is added to what was spent below the step."""

_ONE_CALL = Spend(tool_calls=1)


@dataclass
class Below:
    """What the runs below have cost, and which of their steps nobody knows the outcome of."""

    usage: Usage = field(default_factory=Usage)
    spent: Spend = field(default_factory=Spend)
    unknown: tuple[str, ...] = ()

    def add(self, usage: Usage, spent: Spend, unknown: tuple[str, ...] = ()) -> None:
        self.usage += usage
        self.spent += spent
        self.unknown += unknown

    def join(self, other: Below) -> None:
        self.add(other.usage, other.spent, other.unknown)

    def __bool__(self) -> bool:
        return self.spent != Spend() or self.usage != Usage()

    def to_json(self) -> dict[str, Any]:
        usage, spent = self.usage, self.spent
        return {
            "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd],
            "spent": [spent.steps, spent.tool_calls, spent.tokens, spent.cost_usd],
            "unknown": list(self.unknown),
        }

    @classmethod
    def from_json(cls, step: Any) -> Below:
        """Of what is stored of a step; nothing if nothing ran below it."""
        kept: Any = cast("dict[str, Any]", step).get(_KEY) if isinstance(step, dict) else None
        return cls(Usage(*kept["usage"]), Spend(*kept["spent"]), tuple(kept["unknown"])) if kept else cls()

    def beside(self, step: Any) -> Any:
        """What is stored of a step, with this."""
        return {**step, _KEY: self.to_json()} if self else step


_KEY = "below"


@dataclass(frozen=True)
class Caller:
    """A run, in one of its steps, as the runs see it that start there.

    Attributes:
        principals: "agent:NAME" of the first run of the chain, down to this one's own.
        traces: All that its model has read; what it hands over derives from that.
        ask: Asks a model as this run does, through its gate.
        leave: What the gate has just let happen, if that is a delegation.
        below: What has been spent below this step.
    """

    given: Collaborators
    gate: Gate
    life: Life
    mode: Mode
    principals: tuple[str, ...]
    throttles: tuple[Throttle, ...]
    step: str = ""
    traces: Traces = field(default_factory=Traces)
    ask: Ask | None = None
    leave: list[str] = field(default_factory=list[str])
    below: Below = field(default_factory=Below)
    started: Counter[str] = field(default_factory=Counter[str])

    @contextmanager
    def at(self, step: str, traces: Traces, leave: str = "", ask: Ask | None = None) -> Generator[Below]:
        """Let runs that start in this context be below `step`; what they have cost is in what it gives."""
        here = replace(self, step=step, traces=traces, leave=[leave], ask=ask, below=Below(), started=Counter())
        caller, pool = CALLER.set(here), POOL.set(None)
        try:
            yield here.below
        finally:
            POOL.reset(pool)
            CALLER.reset(caller)

    async def delegate(self, name: str, inputs: Mapping[str, Any], work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` if the gate lets it be delegated to the agent `name`, or has let it already.

        Raises:
            Denied: The policy or a person refused.
            BudgetExceeded: No call is left.
        """
        resource = f"agent:{name}"
        if resource in self.leave:
            self.leave.clear()  # the call of a tool is one delegation
            return await work()
        given = _shown(inputs)
        labels = dict.fromkeys(given, self.traces.seen)
        user = f"user:{self.given.user}"
        action = Action(resource, "delegate", self.principals[-1], user, given, labels, via=self.principals[:-1])

        async def effect(admission: Admission) -> T:
            admission.claim(resource, "delegate", given)
            self.below.add(Usage(), _ONE_CALL)
            return await work()

        AT_STEP.set(f"{self.step}/{name}")
        return await self.gate.perform(action, effect, reserve=_ONE_CALL)

    def inherit(
        self, given: Collaborators, start: Start, inputs: Mapping[str, Any], mode: Mode
    ) -> tuple[Collaborators, Start, Mode]:
        """What a run below this one is made of: its own tools, model and limits, and else what its caller has.

        Raises:
            DefinitionError: The agent has a budget that the caller does not spend from.
        """
        above, budget = self.given, POOL.get() or self.gate.budget
        if given.budget is not None and not budget.is_within(given.budget):
            raise DefinitionError(
                f"the agent {given.name!r} has a budget of its own, and what it does here {self.given.name!r} pays; "
                "give the budget to that agent, and limits= to this one"
            )
        unattended = Mode.UNATTENDED in (mode, self.mode)
        journal = above.journal or given.journal
        joined = replace(
            given,
            user=above.user,
            policy=self._rights(given),
            budget=budget,
            approver=None if unattended else above.approver,
            audit=above.audit,
            grants=above.grants,
            sinks=_once((*above.sinks, *self.life.start.sinks, *given.sinks)),
            journal=journal,
            hooks=(*above.hooks, *(hook for hook in given.hooks if hook not in above.hooks)),
            throttles=self.throttles + throttles_of(given.own_policy, above.ledger or given.ledger),
            ledger=above.ledger or given.ledger,
            redactor=above.redactor.joined(given.redactor),
        )
        run_id = start.run_id or self._run_id(given.name, inputs)
        resumed = journal.find(run_id) if journal is not None and self.life.is_resumed else None
        if resumed is not None:
            start.messages.clear()
        steps = start.steps
        if self.life.start.steps is not None and steps is None:
            steps = NestedSteps(self.life.steps, run_id)
        start = replace(start, run_id=run_id, resumed=resumed, steps=steps, caller=self)
        return joined, start, mode.narrowed(self.mode)

    def _rights(self, given: Collaborators) -> Rights:
        """What may be done below: as much as here, and no more than the agent's own policy allows, if it has one."""
        policy, name = self.given.policy, self.principals[-1]
        layers = policy.layers if isinstance(policy, Rights) else (Layer(cast("Policy | Layers", policy), ()),)
        own = () if given.own_policy is None else (Layer(given.own_policy, ()),)
        return Rights(*(layer.above(name) for layer in layers), *own)

    def _run_id(self, name: str, inputs: Mapping[str, Any]) -> str:
        """The same when the run is run again: what was recorded below is found by it."""
        said = json.dumps([self.life.run_id, self.step, name, _shown(inputs)], sort_keys=True)
        number = self.started[said]
        self.started[said] += 1
        return hashlib.sha256(f"{said}{number}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


CALLER: ContextVar[Caller | None] = ContextVar("CALLER", default=None)
"""The run that is calling, as long as it waits for what it called: a run that starts there works for it."""

POOL: ContextVar[Budget | None] = ContextVar("POOL", default=None)
"""What runs that start in this context spend from together."""


@contextmanager
def spending_from(budget: Budget | None) -> Generator[None]:
    """Let runs that start in this context spend from `budget`; None changes nothing."""
    token = POOL.set(budget or POOL.get())
    try:
        yield
    finally:
        POOL.reset(token)


def sharing(given: Collaborators) -> Collaborators:
    """What a run is made of that works for no other: with the budget of this context, if there is one.

    Raises:
        DefinitionError: The agent has a budget that this one does not spend from.
    """
    pool = POOL.get()
    if pool is None or (given.budget is not None and given.budget.is_within(pool)):
        return given
    if given.budget is not None and not pool.is_within(given.budget):
        raise DefinitionError(f"the agent {given.name!r} has a budget of its own; give the budget to its team")
    return replace(given, budget=pool)


def throttles_of(policy: Policy | Layers | None, ledger: Ledger | None = None) -> tuple[Throttle, ...]:
    """What counts a policy's rates and quotas."""
    if policy is None:
        return ()
    rates = (RateLimits(policy.rates, ledger=ledger),) if policy.rates else ()
    return (*rates, Quotas(policy.quotas, ledger)) if policy.quotas else rates


def _once(sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
    return tuple(sink for place, sink in enumerate(sinks) if not any(sink is before for before in sinks[:place]))


def _shown(inputs: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = to_jsonable_python(dict(inputs), fallback=str)
    return shown
