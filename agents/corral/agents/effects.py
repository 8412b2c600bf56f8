"""The effects of a run: the only module here that asks a model, calls a tool, runs a cell or touches memory.

Each passes the gate and is a step. A test reads the source to see that nothing else does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import anyio
from dspy.lm15 import Request

from corral.agents.caller import Below, Caller
from corral.agents.errors import ModelError, ReplayDiverged
from corral.agents.generation import GENERATION, Generation
from corral.agents.hooks import Hooks
from corral.agents.hooks.around import Around
from corral.agents.model import Model
from corral.agents.steps import AT_STEP, Codec, Steps
from corral.agents.stored import OBSERVATION, RECEIPT, RECOLLECTIONS, refusal_from_json, refusal_to_json
from corral.memory import Memory, Receipt, Recollection, Scope, Turn
from corral.policy import (
    Action,
    ActionKind,
    Admission,
    BudgetExceeded,
    Denied,
    Gate,
    Label,
    Provenance,
    Redactor,
    Spend,
)
from corral.sandbox import Execution, Host, Network, Sandbox, SandboxProvider
from corral.tools import Elicitation, Observation, Tool

__all__ = ["Effects"]

T = TypeVar("T")

_ONE_CALL = Spend(tool_calls=1)
_LONG = 20_000
"""Characters that are redacted beside the event loop, not in it: about 4 ms."""
_FROM_CODE = replace(Label.user(), sources=frozenset(("code:python",)))


class Effects:
    """What one run may cause, all of it through one gate.

    Args:
        principal: The agent, as rules name it: "agent:NAME".
        user: On whose behalf, "user:NAME".
        provenance: Is told all that the run reads, and says what arguments derive from; usually a guard of the gate.
        caller: The run as those see it that its tools start; None lets them be runs of their own.
        hooks: Asked before and after what it causes.
        redactor: Takes out of what tools, cells and memories give what nobody may see; None takes out nothing.
    """

    def __init__(
        self,
        gate: Gate,
        steps: Steps,
        principal: str,
        user: str,
        provenance: Provenance | None = None,
        *,
        caller: Caller | None = None,
        hooks: Hooks | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.gate = gate
        self.steps = steps
        self._principal = principal
        self._user = user
        self._caller = caller
        self.around = Around(hooks, gate) if hooks else None
        self._redactor = redactor
        self._via = caller.principals[:-1] if caller is not None else ()
        self.provenance = provenance or Provenance()
        self.below = Below()
        """What the runs below this one have cost; its budget has it too."""

    @property
    def seen(self) -> Label:
        """The join of everything that the model has read: what it proposes derives from this."""
        return self.provenance.seen

    @property
    def from_code(self) -> Label:
        """The label of what a cell gives: it may come from anything that went in, and from any host that it reaches."""
        return self.seen.join(_FROM_CODE if self.network() is None else Label.untrusted("code:python"))

    def printed(self, text: str) -> None:
        """Note that the model is about to read what a cell printed."""
        self.provenance.observe("code:python", text, self.from_code)

    def network(self, provider: SandboxProvider | None = None) -> Network | None:
        """What code may reach: each connection passes the gate; None where the policy, or `provider`, opens no host."""
        if provider is not None and not provider.opens_network:
            return None
        return Network.of(self.gate, self._principal, self._user)

    def answered(self, step: int, reserve: Spend) -> Generation | None:
        """The recorded answer of a model that was asked in an earlier process, paid for again; None if none was."""
        if (kept := self.steps.recorded(f"model/{step}")) is None:
            return None
        generation = GENERATION.load(kept)
        self._charge(_cost(reserve, generation))
        return generation

    async def generate(
        self, model: Model, request: Request, step: int, reserve: Spend, on_text: Callable[[str], None] | None
    ) -> Generation:
        """Ask the model.

        Raises:
            Denied: The policy refuses the model.
            BudgetExceeded: There is not so much left.
            ModelError: The model gave no answer.
        """
        name = f"model/{step}"
        if (kept := self.answered(step, reserve)) is not None:
            return kept
        AT_STEP.set(name)

        async def ask(one: Model, request: Request, patience: float, /) -> Generation:
            return await self._ask(one, request, reserve, on_text, patience)

        async def answered() -> Generation:
            if self.around is None:
                return await model.answer(request, ask)
            action = self._action(model.resource, "generate")
            with self._calling(f"hook/{name}", ""):
                asked = await self.around.before_model(action, request, step)
                return await self.around.after_model(action, asked, await model.answer(asked, ask), step)

        try:
            return await self.steps.call(name, answered, codec=GENERATION, effect="read")
        except ModelError as error:
            self._hush(error)
            raise

    def _hush(self, error: ModelError) -> None:
        """Servers quote keys: "Incorrect API key provided: ..."."""
        error.problem = self.redacted(error.problem)
        error.args = tuple(self.redacted(arg) if isinstance(arg, str) else arg for arg in error.args)

    async def _ask(
        self, model: Model, request: Request, reserve: Spend, on_text: Callable[[str], None] | None, patience: float
    ) -> Generation:
        resource = model.resource

        async def effect(admission: Admission) -> Generation:
            admission.claim(resource, "generate")
            admission.spent = Spend(steps=reserve.steps)  # an attempt without an answer costs a step and no tokens
            generation = await model.generate(request, on_text=on_text, patience=patience)
            admission.spent = _cost(reserve, generation)
            return generation

        return await self.gate.perform(self._action(resource, "generate"), effect, reserve=reserve)

    async def _ask_below(self, model: Model, request: Request, below: Below) -> Generation:
        """Ask for a tool that is no run of its own, such as a DSPy module."""

        async def ask(one: Model, request: Request, patience: float, /) -> Generation:
            return await self._ask(one, request, Spend(steps=1), None, patience)

        generation = await model.answer(request, ask)
        below.add(generation.usage, _cost(Spend(steps=1), generation))
        return generation

    async def call(
        self, tool: Tool, arguments: Mapping[str, Any], step: str, *, again: str | None = None, told: bool = True
    ) -> Observation:
        """Call a tool with checked arguments.

        Args:
            again: The cell that is run again, if one is: then only what is recorded can be had.
            told: Whether the model will read what it returns.

        Raises:
            Denied: The policy, a hook or a person refused.
            BadArguments: A hook made arguments of them that don't fit.
            BudgetExceeded: No call is left.
            UnknownOutcome: It must not be repeated, and an earlier process was killed while it ran.
            ReplayDiverged: `again`, and it was not called before.
        """
        given = dict(arguments)
        kept = self.steps.recorded(step)
        if kept is not None:
            if again is None:
                self.charge_below(Below.from_json(kept))
            observation = self._again(kept, OBSERVATION, _ONE_CALL if again is None else Spend())
            return self._observed(tool, observation, given) if told else observation
        if again is not None:
            raise ReplayDiverged(again, f"it called {tool.name} as it had not done before")
        action = self._action(tool.resource, tool.verb, given, read_only=tool.read_only, schema_hash=tool.schema_hash)
        if self.around is not None:
            given = await self._hooked(step, action, tool)
            action = replace(action, arguments=given, labels=dict.fromkeys(given, self.seen))
        if action.kind is not ActionKind.MEMORY:
            # A note keeps the label of all that was read: of a page told in other words nothing can be traced.
            action = replace(action, labels=self.provenance.labels(action))

        async def effect(admission: Admission) -> Observation:
            with self._calling(step, tool.resource) as below:
                codec: Codec[Observation] = Codec(lambda seen: below.beside(OBSERVATION.dump(seen)), OBSERVATION.load)

                async def called() -> Observation:
                    observation = await self._clean(tool.call(given, admission))
                    if self.around is None:
                        return observation
                    return await self.around.after_tool(tool, given, observation, self.seen)

                return await self.steps.call(step, called, codec=codec, effect=tool.effect.value)

        observation = await self._perform(step, action, effect)
        return self._observed(tool, observation, given) if told else observation

    async def _hooked(self, step: str, action: Action, tool: Tool) -> dict[str, Any]:
        """The arguments that hooks leave; a veto is recorded, like any refusal."""
        assert self.around is not None
        try:
            with self._calling(f"hook/{step}", ""):
                return await self.around.before_tool(action, tool, self.seen)
        except Denied as error:
            await self.steps.record(step, refusal_to_json(error))
            raise

    async def below_step(self, step: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`, in which agents may start that work for this run, at this step."""
        with self._calling(step, ""):
            return await work()

    async def _clean(self, called: Awaitable[Observation]) -> Observation:
        """What a tool gives, redacted before it is kept or handed to code."""
        observation = await called
        redactor = self._redactor
        if redactor is None:
            return observation
        if len(observation.whole or observation.text) > _LONG:
            return await anyio.to_thread.run_sync(_redacted, observation, redactor)
        return _redacted(observation, redactor)

    def redacted(self, text: str) -> str:
        """A text that the model is to read, without what it must not."""
        return text if self._redactor is None else self._redactor.redact(text)

    def _observed(self, tool: Tool, observation: Observation, given: dict[str, Any]) -> Observation:
        value = tool.result(observation)
        shown = "" if value is observation.text else observation.text
        label = self.provenance.observe(
            tool.resource, value, observation.label, given, shown=shown, schema=tool.schema_hash
        )
        return observation if label == observation.label else replace(observation, label=label)

    async def elicit(self, elicitation: Elicitation, tool: Tool, step: str) -> dict[str, Any] | bool | None:
        """What the person answers a server that asks in the middle of a call: a form, True for a URL, or None.

        Raises:
            Denied: The policy or the person refused, or nobody can be asked.
            BadArguments: What was filled in does not fit the form.
        """
        action = elicitation.action(self._principal, self._user, tool.label, self._via)
        AT_STEP.set(step)
        return await self.gate.perform(action, elicitation.answered)

    async def execute(
        self,
        sandbox: Sandbox,
        code: str,
        timeout: float,
        host: Host,
        step: str = "",
        *,
        variables: Mapping[str, Any] | None = None,
        again: bool = False,
    ) -> Execution:
        """Run a cell. It is a scope and no step: what it calls are steps of their own.

        Args:
            step: The cell's name, under which a person's answer is kept.
            variables: Names that are bound before it runs, JSON.
            again: It ended in an earlier process, and was paid for.

        Raises:
            Denied: The policy or a person refused.
            BudgetExceeded: No call is left.
            SandboxError: The sandbox failed.
        """

        code = await self._hooked_code(code, step, again)

        async def effect(admission: Admission) -> Execution:
            admission.claim("code:python", "execute", {"code": code})
            return await sandbox.execute(code, variables, timeout=timeout, host=host)

        AT_STEP.set(step)
        return await self.gate.perform(
            self._action("code:python", "execute", {"code": code}), effect, reserve=Spend() if again else _ONE_CALL
        )

    async def _hooked_code(self, code: str, step: str, again: bool) -> str:
        """The code that hooks leave; what they changed is recorded, as the cell may be run again for its names."""
        if self.around is None or not self.around.hooks.wants("before_cell"):
            return code
        name = f"hook/{step}"
        if (kept := self.steps.recorded(name)) is not None:
            return str(kept["code"])
        if again:
            return code
        action = self._action("code:python", "execute", {"code": code})
        with self._calling(name, ""):
            changed = await self.around.before_cell(action, step, code)
        if changed != code and step:
            await self.steps.record(name, {"code": changed})
        return changed

    async def recall(self, memory: Memory, query: str, scope: Scope) -> list[Recollection]:
        """What memory knows about `query`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
        """
        if (kept := self.steps.recorded("memory/recall")) is not None:
            return self._recalled(self._again(kept, RECOLLECTIONS, Spend()))

        async def effect(admission: Admission) -> list[Recollection]:
            return await self.steps.call(
                "memory/recall",
                lambda: self._clean_all(memory.recall(query, scope, admission=admission)),
                codec=RECOLLECTIONS,
                effect="read",
            )

        action = memory.action("read", scope, arguments={"query": query})
        return self._recalled(await self._perform("memory/recall", action, effect, Spend()))

    async def _clean_all(self, recalled: Awaitable[list[Recollection]]) -> list[Recollection]:
        return [replace(one, text=self.redacted(one.text)) for one in await recalled]

    def _recalled(self, found: list[Recollection]) -> list[Recollection]:
        for recollection in found:
            self.provenance.observe("memory:recalled", recollection.text, recollection.label)
        return found

    async def remember(self, memory: Memory, turns: Sequence[Turn], scope: Scope) -> Receipt:
        """Keep `turns`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
            UnknownOutcome: An earlier process was killed while it kept them.
        """
        if (kept := self.steps.recorded("memory/remember")) is not None:
            return self._again(kept, RECEIPT, Spend())
        arguments = {"turns": [turn.text for turn in turns]}
        labels = {"turns": Label.join_all(turn.label for turn in turns)}

        async def effect(admission: Admission) -> Receipt:
            return await self.steps.call(
                "memory/remember",
                lambda: memory.remember(turns, scope, admission=admission),
                codec=RECEIPT,
                effect="once",
            )

        action = memory.action("write", scope, arguments=arguments, labels=labels)
        return await self._perform("memory/remember", action, effect, Spend())

    async def _perform(
        self, step: str, action: Action, effect: Callable[[Admission], Awaitable[T]], reserve: Spend = _ONE_CALL
    ) -> T:
        """Through the gate; a refusal is recorded, as the model is told of it and goes on from there."""
        AT_STEP.set(step)
        try:
            return await self.gate.perform(action, effect, reserve=reserve)
        except (Denied, BudgetExceeded) as error:
            await self.steps.record(step, refusal_to_json(error))
            raise

    def _again(self, kept: Any, codec: Codec[T], spent: Spend) -> T:
        """What a step came to when it ran. It passed the gate then, and causes nothing now; it is paid for again."""
        if (refusal := refusal_from_json(kept)) is not None:
            raise refusal
        self._charge(spent)
        return codec.load(kept)

    def charge_calls(self, number: int) -> None:
        """Pay for a cell that an earlier process ran, and for what it called."""
        self._charge(Spend(tool_calls=number))

    def charge_below(self, below: Below) -> None:
        """Pay for what an earlier process ran below this run."""
        self._charge(below.spent)
        self.below.join(below)

    @contextmanager
    def _calling(self, step: str, leave: str) -> Generator[Below]:
        """Let runs that start in it work for this one."""
        if self._caller is None:
            yield Below()
            return
        with self._caller.at(step, self.provenance.traces, leave, self._ask_below) as below:
            try:
                yield below
            finally:
                self.below.join(below)

    def _charge(self, spent: Spend) -> None:
        budget = self.gate.budget
        budget.settle(budget.reserve(Spend()), spent)

    def _action(
        self,
        resource: str,
        verb: str,
        arguments: dict[str, Any] | None = None,
        *,
        read_only: bool = False,
        schema_hash: str = "",
    ) -> Action:
        given = arguments or {}
        labels = dict.fromkeys(given, self.seen)
        return Action(resource, verb, self._principal, self._user, given, labels, read_only, schema_hash, self._via)


def _redacted(observation: Observation, redactor: Redactor) -> Observation:
    structured = redactor.redact_json(observation.structured)
    text = redactor.redact(observation.text)
    contents = observation.contents if text == observation.text else ()
    whole = None if observation.whole is None else redactor.redact(observation.whole)
    return replace(observation, text=text, structured=structured, contents=contents, whole=whole)


def _cost(reserve: Spend, generation: Generation) -> Spend:
    usage = generation.usage
    return Spend(reserve.steps, 0, usage.tokens, usage.cost_usd or 0.0)
