"""A run's way through the gate: each action is named and labelled, judged, and kept as a step not to be done twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corral.agents.caller import Ask, Below, Caller
from corral.agents.hooks import Hooks
from corral.agents.hooks.around import Around
from corral.agents.steps import AT_STEP, Codec, Steps
from corral.agents.stored import refusal_from_json, refusal_to_json
from corral.policy import Action, Admission, BudgetExceeded, Denied, Gate, Label, Provenance, Redactor, Spend

__all__ = ["ONE_CALL", "Passage"]

T = TypeVar("T")

ONE_CALL = Spend(tool_calls=1)


@dataclass(eq=False)
class Passage:
    """What the effects of one run share, of whatever kind they are.

    Attributes:
        principal: The agent, as rules name it: "agent:NAME".
        user: On whose behalf, "user:NAME".
        provenance: Is told all that the run reads, and says what arguments derive from; usually a guard of the gate.
        caller: The run as those see it that its tools start; None lets them be runs of their own.
        hooks: Asked before and after what it causes.
        redactor: Takes out of what tools, cells and memories give what nobody may see; None takes out nothing.
        around: Asks the hooks, where there are any.
        ask: How what works for this run without being a run of its own, such as a DSPy module, asks a model.
        below: What the runs below this one have cost; its budget has it too.
    """

    gate: Gate
    steps: Steps
    principal: str
    user: str
    provenance: Provenance = field(default_factory=Provenance)
    caller: Caller | None = None
    hooks: Hooks | None = None
    redactor: Redactor | None = None
    around: Around | None = field(default=None, init=False)
    ask: Ask | None = field(default=None, init=False)
    below: Below = field(default_factory=Below, init=False)

    def __post_init__(self) -> None:
        self.around = Around(self.hooks, self.gate) if self.hooks else None
        self.via = self.caller.principals[:-1] if self.caller is not None else ()

    @property
    def seen(self) -> Label:
        """The join of everything that the model has read: what it proposes derives from this."""
        return self.provenance.seen

    def redacted(self, text: str) -> str:
        """A text that the model is to read, without what it must not."""
        return text if self.redactor is None else self.redactor.redact(text)

    def action(
        self,
        resource: str,
        verb: str,
        arguments: dict[str, Any] | None = None,
        *,
        read_only: bool = False,
        schema_hash: str = "",
    ) -> Action:
        """An action of this run, whose arguments derive from all that was read."""
        given = arguments or {}
        labels = dict.fromkeys(given, self.seen)
        return Action(resource, verb, self.principal, self.user, given, labels, read_only, schema_hash, self.via)

    async def perform(
        self, step: str, action: Action, effect: Callable[[Admission], Awaitable[T]], reserve: Spend = ONE_CALL
    ) -> T:
        """Through the gate; a refusal is recorded, as the model is told of it and goes on from there."""
        AT_STEP.set(step)
        try:
            return await self.gate.perform(action, effect, reserve=reserve)
        except (Denied, BudgetExceeded) as error:
            await self.steps.record(step, refusal_to_json(error))
            raise

    def again(self, kept: Any, codec: Codec[T], spent: Spend) -> T:
        """What a step came to when it ran. It passed the gate then, and causes nothing now; it is paid for again."""
        if (refusal := refusal_from_json(kept)) is not None:
            raise refusal
        self.charge(spent)
        return codec.load(kept)

    def charge(self, spent: Spend) -> None:
        """Pay for what an earlier process did."""
        budget = self.gate.budget
        budget.settle(budget.reserve(Spend()), spent)

    def charge_below(self, below: Below) -> None:
        """Pay for what an earlier process ran below this run."""
        if below:
            self.charge(below.spent)
        self.below.join(below)

    async def below_step(self, step: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`, in which agents may start that work for this run, at this step."""
        with self.calling(step, ""):
            return await work()

    @contextmanager
    def calling(self, step: str, leave: str) -> Generator[Below]:
        """Let runs that start in it work for this one."""
        if self.caller is None:
            yield Below()
            return
        with self.caller.at(step, self.provenance.traces, leave, self.ask) as below:
            try:
                yield below
            finally:
                self.below.join(below)
