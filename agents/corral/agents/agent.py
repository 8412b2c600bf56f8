"""Agents: a task's signature and its collaborators, run by the one loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import dspy
from pydantic import SecretStr

from corral.agents.arguments import check_arguments, redactor_of, toolbox_of, with_an_end
from corral.agents.assembly import Assembly, Role
from corral.agents.caller import CALLER
from corral.agents.collaborators import Collaborators, throttles_of
from corral.agents.consolidating import Consolidating, Consolidation
from corral.agents.definition import Definition
from corral.agents.door import run_in_background
from corral.agents.errors import DefinitionError
from corral.agents.guards import Guard
from corral.agents.hooks import Hook, load_plugins
from corral.agents.journal import Journal
from corral.agents.kit import Kit
from corral.agents.life import Life
from corral.agents.makeup import Makeup, bind_again
from corral.agents.model import Model, ModelSpec
from corral.agents.prompt import Actions, opening
from corral.agents.result import Result
from corral.agents.signature import TaskSignature
from corral.agents.skills import Guidance, Skills
from corral.agents.start import Start
from corral.agents.stream import stream_events
from corral.agents.taskmodule import TaskModule
from corral.agents.terms import Terms
from corral.policy import (
    Approver,
    Audit,
    Budget,
    BudgetExceeded,
    Denied,
    Event,
    Grants,
    Layers,
    Ledger,
    Limits,
    Mode,
    Policy,
    Sink,
)
from corral.tools import Artifacts, Tool, Toolbox, ToolSource

if TYPE_CHECKING:
    from corral.memory import Memory
    from corral.sandbox import SandboxProvider
    from corral.tools import MCPServer

__all__ = ["Agent", "CodeAct", "ReAct", "Start"]


_PATIENCE = 20.0
"""Seconds that an agent which is closed waits for a consolidation."""


class Agent(TaskModule):
    """A task, a model, and what the model may use; every effect passes the gate.

    It is a DSPy module: `agent(**inputs)` and `acall` return a `dspy.Prediction`, optimisers work on `agent.predict`,
    and `save` and `load` keep its instructions and demos. Runs of one agent may go on at the same time. Tools and
    sandbox open with the first run and close with the last; `async with agent:` keeps them open in between.

    Args:
        signature: "inputs -> outputs" or a `dspy.Signature`; outputs are validated by their types.
        tools: Functions, tools, other agents and sources such as MCP servers, or one toolbox.
        lm: A model's name, a `ModelSpec`, a `Model`, or a `dspy.LM`; None takes DSPy's current one at each run.
        sandbox: Where code runs; the agent closes its sessions, and the provider only if it made it. None takes the
            strongest there is, Docker before Monty, and never runs code outside of a sandbox.
        memory: What was said before is recalled from it ahead of the first step, and the turn is remembered after the
            last; whoever made it closes it.
        policy: Rules and limits, or several policies as layers; None is `Policy.safe()`.
        approver: Who answers when the policy asks; with None, what asks is denied.
        limits: Caps of a run, on top of the policy's own; where they don't mention steps, there are 30.
        budget: A budget that all runs of this agent share, and spend from together.
        mode: How strictly the policy is taken, such as `Mode.PLAN`; the attribute may be set between runs.
        grants: What people agreed to before; those for a session last as long as the `Session`, or the run. By default
            they are kept as long as the agent is.
        sinks: Who else hears every event.
        journal: Keeps every event, and what runs need to be resumed after a crash; whoever made it closes it.
        artifacts: Keeps results and outputs that are too long, whole; the model is offered `read_result` to read on in
            them, from the first step on, so that the prompt's prefix stays the same. Not with a ready toolbox, which
            takes its own. Its `max_chars` stands for `observation_chars`; the folder's owner removes it.
        actions: What the model is offered; by default what the class says.
        cell_timeout: Seconds of a cell's own time.
        observation_chars: Longer results are cut in the middle before the model sees them.
        untrusted_inputs: Names of inputs whose text is not the user's, such as a page to be summed up: no value that
            only they state is one that the user asked for.
        input_guards, output_guards: What may enter a run, and what may leave it; asked in order. With output guards no
            text is streamed.
        plugins: Hooks, and names of those that installed packages offer; asked in order, also about what the agents do
            that this one delegates to.
        ledger: Keeps what the policy's rates and quotas have counted, over runs and processes; by default that is kept
            as long as the agent is.
        secrets: What no model, journal or sandbox may see, of 6 characters and more: it is taken out of all that tools,
            cells and memories give, however it is encoded there; the model's key is one of them.
        skills: Folders and MCP servers whose skills the model may read, or a source of them. Not with a ready toolbox.
        agents_md: A file with what a project says to agents, or a folder with an AGENTS.md; it is read now.
        consolidate: Whether, after runs, a model draws facts from what was said and remembered: in the background, when
            enough has gathered, at a cost of its own. See `Consolidation`; `async with agent:` waits for its end.

    Raises:
        DefinitionError: The signature, the model or a collaborator can't be used.
    """

    actions = Actions.TOOLS

    def __init__(
        self,
        signature: str | type[dspy.Signature],
        tools: Toolbox | Sequence[ToolSource | Tool | Callable[..., Any]] = (),
        *,
        lm: str | ModelSpec | Model | dspy.LM | None = None,
        sandbox: SandboxProvider | None = None,
        memory: Memory | None = None,
        policy: Policy | Layers | None = None,
        approver: Approver | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        audit: Audit | None = None,
        mode: Mode = Mode.ENFORCE,
        grants: Grants | None = None,
        sinks: Sequence[Sink] = (),
        journal: Journal | None = None,
        artifacts: Artifacts | None = None,
        name: str = "main",
        user: str = "local",
        actions: Actions | None = None,
        cell_timeout: float = 30.0,
        observation_chars: int = 16_000,
        untrusted_inputs: Sequence[str] = (),
        input_guards: Sequence[Guard] = (),
        output_guards: Sequence[Guard] = (),
        plugins: Sequence[str | Hook] = (),
        secrets: Sequence[str | SecretStr] = (),
        ledger: Ledger | None = None,
        skills: Skills | Sequence[str | Path | MCPServer] = (),
        agents_md: str | Path | None = None,
        consolidate: bool | Consolidation = False,
    ) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - DSPy's own is not annotated
        check_arguments(
            policy=policy,
            limits=limits,
            memory=memory,
            approver=approver,
            tools=tools,
            sinks=sinks,
            untrusted_inputs=untrusted_inputs,
            input_guards=input_guards,
            output_guards=output_guards,
            plugins=plugins,
            skills=skills,
        )
        read = TaskSignature.of(signature)
        self.predict: Any = dspy.Predict(signature)
        self._read: tuple[Any, TaskSignature] | None = (self.predict.signature, read)
        if strange := set(untrusted_inputs) - set(read.inputs):
            raise DefinitionError(f"untrusted_inputs names {', '.join(sorted(strange))}, which {read.written} has not")
        if actions is not None:
            self.actions = actions
        self.mode = mode
        self._model = lm if isinstance(lm, Model) or lm is None else Model(lm)
        kit = Kit(toolbox_of(tools, artifacts, skills), sandbox, bool(self.actions & Actions.CODE))
        own_policy, policy = policy, policy or Policy.safe()
        asked = limits or Limits()
        self._given = Collaborators(
            name=name,
            user=user,
            kit=kit,
            policy=policy,
            limits=policy.limits.narrowed(with_an_end(asked)),
            budget=budget,
            approver=approver,
            audit=audit,
            grants=grants or Grants(),
            sinks=tuple(sinks),
            journal=journal,
            memory=memory,
            artifacts=artifacts,
            cell_timeout=cell_timeout,
            observation_chars=observation_chars,
            own_policy=own_policy,
            throttles=throttles_of(policy, ledger),
            ledger=ledger,
            untrusted_inputs=frozenset(untrusted_inputs),
            hooks=(*load_plugins(plugins), *(guard for guard in output_guards if isinstance(guard, Hook))),
            input_guards=tuple(input_guards),
            output_guards=tuple(output_guards),
            redactor=redactor_of(policy, self._model, secrets),
            guidance=None if agents_md is None else Guidance.read(agents_md),
        )
        wish = Consolidation() if consolidate is True else consolidate or None
        if wish is not None and memory is None:
            raise DefinitionError("consolidate= draws facts from a memory, and there is none; pass memory=Memory(...)")
        self._consolidating = Consolidating(wish)
        self._definition = Definition(
            signature=signature if isinstance(signature, str) else read.written,
            model=self._model,
            tools=() if isinstance(tools, Toolbox) else tuple(tools),
            sandbox=kit.given_sandbox,
            memory=memory,
            policy=policy,
            limits=asked,
            cell_timeout=cell_timeout,
            observation_chars=observation_chars,
            untrusted_inputs=tuple(untrusted_inputs),
            plugins=tuple(plugins),
            skills=(skills,) if isinstance(skills, Skills) else tuple(skills),
            agents_md=None if agents_md is None else str(agents_md),
            has_guards=bool(input_guards or output_guards),
            consolidation=wish,
        )

    def stream(self, task: Any = None, /, **inputs: Any) -> AsyncGenerator[Event]:
        """Run the task and yield what happens, text as it arrives, up to `RunFinished`.

        A reader that is slow never holds the run up. Closing the generator (`contextlib.aclosing`) cancels the run.
        """
        return stream_events(lambda sink: self.start(task, inputs, Start(sinks=(sink,), stream_text=True)))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The outputs as DSPy sees them; None for each when the run ended without an answer."""
        result = await self.run(**inputs)
        outputs = result.outputs or dict.fromkeys(self.signature.outputs)
        prediction = dspy.Prediction(**outputs)
        if (trace := _dspy_settings().trace) is not None:
            trace.append((self.predict, dict(inputs), prediction))
        return prediction

    @property
    def signature(self) -> TaskSignature:
        """The task's inputs and outputs as they stand; an optimiser may have changed them."""
        current: Any = self.predict.signature
        if self._read is None or self._read[0] is not current:
            self._read = (current, TaskSignature.of(current))
        return self._read[1]

    async def __aenter__(self) -> Self:
        await self._given.kit.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.consolidated(_PATIENCE if kind is None else 0.0)
        finally:
            await self._given.kit.close()
            await self._consolidating.close()
            if self._model is not None:
                await self._model.close()

    def __enter__(self) -> Self:
        return run_in_background(self.__aenter__)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_in_background(lambda: self.__aexit__(kind, error, trace))

    async def consolidated(self, timeout: float) -> None:
        """Wait for the consolidation that goes on in the background, if one does; `timeout` seconds later it is
        cancelled, and what it has not done stays to be done."""
        await self._consolidating.end(timeout)

    def definition(self) -> Definition:
        """What it was made of, as far as a file can say it."""
        return self._definition

    async def resume(self, run_id: str, start: Start | None = None) -> Result:
        """Go on with a run of the journal that was killed, cancelled or stopped by a limit, where it stopped.

        What it has recorded is not done again: not asked, not called, not approved. Calls that must not be repeated and
        were cut off are reported to the model as unknown. Policy, limits and model may be others; what else has changed
        and does no harm, such as a new tool, is told in a `ResumeWarned` event.

        Raises:
            AgentChanged: The signature, or a tool that recorded steps have called, is not as it was.
            DefinitionError: The agent has no journal, or the run is not one of it.
            JournalError: There is no such run, or it still goes on in a process of this machine.
        """
        journal = self._given.journal
        if journal is None:
            raise DefinitionError("this agent has no journal to resume from; pass journal=Journal(path)")
        record = journal.record(run_id)
        resuming = (start or Start()).resuming(journal, record)
        return await self.start(None, bind_again(self.signature, record), resuming)

    def within(self, limits: Limits) -> Self:
        """This agent with one budget for all of its runs; tools and sandbox are shared with it."""
        spent_from = self._given.budget
        budget = Budget(limits) if spent_from is None else spent_from.child(limits)
        other = copy(self)
        other._given = replace(self._given, budget=budget)
        return other

    @property
    def name(self) -> str:
        """What rules call it: "agent:NAME"."""
        return self._given.name

    @property
    def user(self) -> str:
        """On whose behalf it runs, "user:NAME" in rules."""
        return self._given.user

    @property
    def description(self) -> str:
        """What other agents are told of it: its instructions."""
        return str(self.predict.signature.instructions)

    @property
    def audit(self) -> Audit | None:
        """Where what its runs cause is written down."""
        return self._given.audit

    @property
    def grants(self) -> Grants:
        """What people agreed to."""
        return self._given.grants

    @property
    def model(self) -> Model | None:
        """The model of its runs; another one may be set between them. None is DSPy's current one."""
        return self._model

    @model.setter
    def model(self, model: Model | None) -> None:
        self._model = model

    @property
    def limits(self) -> Limits:
        """The caps of each run: its own and the policy's."""
        return self._given.limits

    @property
    def journal(self) -> Journal | None:
        """What its runs are kept in."""
        return self._given.journal

    @property
    def toolbox(self) -> Toolbox:
        """The tools; open while a run goes on, or inside `async with agent:`."""
        return self._given.kit.toolbox

    async def start(self, task: Any, inputs: Mapping[str, Any], start: Start) -> Result:
        """`run`, with what a session or a stream adds to it."""
        bound = self.bind(task, inputs)
        model = self._model or _current_model(self.predict)
        caller = CALLER.get()
        if caller is None:
            terms = Terms.own(self._given, start, self.mode)
            result = await self._begin(model, bound, terms)
            self._consolidating.after_run(terms.given, model, self.mode, (*terms.given.sinks, *start.sinks))
            return result
        terms = Terms.below(caller, self._given, start, self.mode, bound)
        try:
            return await caller.delegate(self.name, bound, lambda: self._begin(model, bound, terms))
        except (Denied, BudgetExceeded) as error:
            return Result.not_started(terms.start.run_id or "", error)

    async def _begin(self, model: Model, inputs: dict[str, Any], terms: Terms) -> Result:
        kit = terms.given.kit
        await kit.open()
        try:
            return await self._run(model, inputs, terms)
        finally:
            await kit.close()

    async def _run(self, model: Model, inputs: dict[str, Any], terms: Terms) -> Result:
        signature, predict = self.signature, self.predict
        role = Role(signature, predict.signature.instructions, predict.demos, self.actions)
        life = Life.of(terms, inputs)
        makeup = Makeup.of(signature, role.instructions, terms.given.kit)
        changes = life.check(makeup, self.toolbox.failures)
        assembly = Assembly(life)
        if not life.start.messages:
            life.start.messages.extend(opening(signature, role.demos))
        inputs, refused = await assembly.enter(inputs, signature)
        # What is defined wrongly is said here, before anything is written.
        loop = assembly.loop(model, role, inputs, refused)
        life.begin(self.name, model.name, type(self).__name__, makeup, missing=self.toolbox.failures, changes=changes)
        assembly.border.begun()
        try:
            return await loop.run()
        finally:
            assembly.tell_caller(loop.usage, loop.unknown)
            life.keep()


class ReAct(Agent):
    """An agent whose model calls the tools itself (ReAct, arXiv:2210.03629)."""

    actions = Actions.TOOLS


class CodeAct(Agent):
    """An agent whose model writes Python that calls the tools, run in a sandbox (CodeAct, arXiv:2402.01030)."""

    actions = Actions.CODE


def _current_model(predict: Any) -> Model:
    lm: Any = predict.lm or _dspy_settings().lm
    if lm is None:
        raise DefinitionError(
            "there is no model: pass lm=..., such as lm='openai/m', or name one in the agent file or with --model"
        )
    return Model(lm)


def _dspy_settings() -> Any:
    settings: Any = cast("Any", dspy).settings
    return settings
