"""Callers: the run that is calling, as the runs see it that start while it waits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, cast

from dspy.lm15 import Request
from pydantic_core import to_jsonable_python

from corral.agents.collaborators import Collaborators
from corral.agents.errors import AgentChanged
from corral.agents.generation import Generation
from corral.agents.model import Model
from corral.agents.start import Start
from corral.agents.steps import AT_STEP, Steps
from corral.policy import (
    Action,
    Admission,
    Budget,
    Gate,
    Mode,
    Spend,
    Traces,
    Usage,
)

__all__ = ["CALLER", "POOL", "Ask", "Below", "Caller", "spending_from"]

T = TypeVar("T")

Ask: TypeAlias = "Callable[[Model, Request, Below], Awaitable[Generation]]"
"""Asks a model as a run does; what it costs is added to what was spent below the step."""

_ONE_CALL = Spend(tool_calls=1)


@dataclass
class Below:
    """What the runs below have cost, and which of their steps nobody knows the outcome of.

    Attributes:
        changed: Why one of them can't go on: then the step has no result that could be kept.
    """

    usage: Usage = field(default_factory=Usage)
    spent: Spend = field(default_factory=Spend)
    unknown: tuple[str, ...] = ()
    changed: AgentChanged | None = None

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
        """What is stored of a step, with this.

        Raises:
            AgentChanged: Nothing is to be stored.
        """
        if self.changed is not None:
            raise self.changed
        return {**step, _KEY: self.to_json()} if self else step


_KEY = "below"


@dataclass(frozen=True)
class Caller:
    """A run, in one of its steps, as the runs see it that start there.

    Attributes:
        given: What it is made of, and `start` what it went on from.
        steps: What keeps its steps.
        session_id: The session that a person sees.
        principals: "agent:NAME" of the first run of the chain, down to this one's own.
        step: Where it is.
        traces: All that its model has read; what it hands over derives from that.
        ask: Asks a model as this run does, through its gate.
        leave: What the gate has just let happen, if that is a delegation.
        below: What has been spent below this step.
    """

    given: Collaborators
    gate: Gate
    mode: Mode
    start: Start
    steps: Steps
    run_id: str
    session_id: str | None
    inputs: dict[str, Any]
    principals: tuple[str, ...]
    step: str = ""
    traces: Traces = field(default_factory=Traces)
    ask: Ask | None = None
    leave: list[str] = field(default_factory=list[str])
    below: Below = field(default_factory=Below)
    started: Counter[str] = field(default_factory=Counter[str])

    @property
    def name(self) -> str:
        return self.given.name

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

    def next_run_id(self, name: str, inputs: Mapping[str, Any]) -> str:
        """The id of the run that starts below it next; the same when it is run again, and what was recorded is found by
        it."""
        said = json.dumps([self.run_id, self.step, name, _shown(inputs)], sort_keys=True)
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


def _shown(inputs: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = to_jsonable_python(dict(inputs), fallback=str)
    return shown
