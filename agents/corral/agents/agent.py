"""Agents: a task's signature and its collaborators, run by the one loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self, cast

import dspy

from corral.agents.acting import Acting
from corral.agents.cells import Cells
from corral.agents.collaborators import check_collaborators
from corral.agents.door import run_in_background
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import DefinitionError
from corral.agents.journal import Journal
from corral.agents.kit import Kit
from corral.agents.life import Life
from corral.agents.loop import Loop, Task
from corral.agents.model import Model, ModelSpec
from corral.agents.prompt import Actions, Offer, make_offer, opening
from corral.agents.remembering import Remembering
from corral.agents.result import Result
from corral.agents.signature import TaskSignature
from corral.agents.start import Start
from corral.agents.stream import stream_events
from corral.agents.toolcalls import ToolCalls
from corral.memory import Memory, Scope
from corral.policy import (
    Approver,
    Audit,
    Budget,
    Emitter,
    Event,
    Gate,
    Grants,
    Limits,
    Mode,
    Policy,
    Sink,
)
from corral.sandbox import SandboxProvider
from corral.tools import Artifacts, Tool, Toolbox, ToolSource

__all__ = ["Agent", "CodeAct", "ReAct", "Start"]

DEFAULT_STEPS = 30
"""For agents whose limits name none: enough for most tasks, and an end for those that go round in circles."""


@dataclass(frozen=True)
class Definition:
    """What an agent was made of, as far as a file can say it."""

    signature: str
    model: Model | None
    tools: tuple[Any, ...]
    sandbox: Literal["auto", "docker", "monty"]
    has_memory: bool
    policy: Policy
    limits: Limits
    cell_timeout: float
    observation_chars: int


class Agent(dspy.Module):
    """A task, a model, and what the model may use; every effect passes the gate.

    It is a DSPy module: `agent(**inputs)` and `acall` return a `dspy.Prediction`, optimisers work on `agent.predict`,
    and `save` and `load` keep its instructions and demos. Runs of one agent may go on at the same time. Tools and
    sandbox open with the first run and close with the last; `async with agent:` keeps them open in between.

    Args:
        signature: "inputs -> outputs" or a `dspy.Signature`; outputs are validated by their types.
        tools: Functions, tools and sources such as MCP servers, or one toolbox.
        lm: A model's name, a `ModelSpec`, a `Model`, or a `dspy.LM`; None takes DSPy's current one at each run.
        sandbox: Where code runs; the agent closes its sessions, and the provider only if it made it. None takes the
            strongest there is, Docker before Monty, and never runs code outside of a sandbox.
        memory: What was said before is recalled from it ahead of the first step, and the turn is remembered after the
            last; whoever made it closes it.
        policy: Rules and limits; None is `Policy.safe()`.
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

    Raises:
        DefinitionError: The signature or the model can't be used.
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
        policy: Policy | None = None,
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
    ) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - DSPy's own is not annotated
        check_collaborators(policy=policy, limits=limits, memory=memory, approver=approver, tools=tools)
        read = TaskSignature.of(signature)
        self.predict: Any = dspy.Predict(signature)
        self._read: tuple[Any, TaskSignature] | None = (self.predict.signature, read)
        if actions is not None:
            self.actions = actions
        self.name = name
        self._kit = Kit(_toolbox(tools, artifacts), sandbox, bool(self.actions & Actions.CODE))
        self._artifacts = artifacts
        self._given_tools = () if isinstance(tools, Toolbox) else tuple(tools)
        self._written = signature if isinstance(signature, str) else read.written
        self._asked = limits or Limits()
        self._journal = journal
        self._model = lm if isinstance(lm, Model) or lm is None else Model(lm)
        self._policy = policy or Policy.safe()
        self._limits = self._policy.limits.narrowed(_with_an_end(limits or Limits()))
        self._budget = budget
        self._approver = approver
        self._audit = audit
        self.mode = mode
        self.grants = grants or Grants()
        self._sinks = tuple(sinks)
        self._user = user
        self._memory = memory
        self._cell_timeout = cell_timeout
        self._observation_chars = observation_chars

    async def run(self, task: Any = None, /, **inputs: Any) -> Result:
        """Run the task to its end.

        Args:
            task: The input, where there is only one; otherwise give inputs by name.

        Returns:
            Whatever it came to: limits, denials and a silent model end a run with a reason, not with an exception.

        Raises:
            DefinitionError: The inputs don't fit, or there is no model.
        """
        return await self.start(task, inputs, Start())

    def run_sync(self, task: Any = None, /, **inputs: Any) -> Result:
        """`run`, for code that is not async."""
        return run_in_background(lambda: self.run(task, **inputs))

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

    def forward(self, **inputs: Any) -> dspy.Prediction:
        return run_in_background(lambda: self.aforward(**inputs))

    @property
    def signature(self) -> TaskSignature:
        """The task's inputs and outputs as they stand; an optimiser may have changed them."""
        current: Any = self.predict.signature
        if self._read is None or self._read[0] is not current:
            self._read = (current, TaskSignature.of(current))
        return self._read[1]

    async def __aenter__(self) -> Self:
        await self._kit.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kit.close()
        if self._model is not None:
            await self._model.close()

    def __enter__(self) -> Self:
        return run_in_background(self.__aenter__)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_in_background(lambda: self.__aexit__(kind, error, trace))

    def definition(self) -> Definition:
        """What it was made of, as far as a file can say it."""
        return Definition(
            signature=self._written,
            model=self._model,
            tools=self._given_tools,
            sandbox=self._kit.given_sandbox,
            has_memory=self._memory is not None,
            policy=self._policy,
            limits=self._asked,
            cell_timeout=self._cell_timeout,
            observation_chars=self._observation_chars,
        )

    async def resume(self, run_id: str, start: Start | None = None) -> Result:
        """Go on with a run of the journal that was killed, cancelled or stopped by a limit, where it stopped.

        What it has recorded is not done again: not asked, not called, not approved. Calls that must not be repeated and
        were cut off are reported to the model as unknown. The agent has to be made as it was; a limit may be higher.

        Raises:
            DefinitionError: The agent has no journal, or the run is not one of it.
            JournalError: There is no such run, or it still goes on in a process of this machine.
        """
        if self._journal is None:
            raise DefinitionError("this agent has no journal to resume from; pass journal=Journal(path)")
        record = self._journal.record(run_id)
        start = start or Start()
        if record.previous and not start.messages:
            start.messages.extend(self._journal.messages(record.previous))
        return await self.start(None, record.inputs, replace(start, resumed=record, session_id=record.session_id))

    @property
    def journal(self) -> Journal | None:
        """What its runs are kept in."""
        return self._journal

    @property
    def toolbox(self) -> Toolbox:
        """The tools; open while a run goes on, or inside `async with agent:`."""
        return self._kit.toolbox

    def _inputs(self, task: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        signature = self.signature
        if task is None:
            return signature.bind(inputs)
        if len(signature.inputs) != 1 or inputs:
            raise DefinitionError(f"this agent takes its inputs by name: {', '.join(signature.inputs)}")
        (name,) = signature.inputs
        return signature.bind({name: task})

    async def start(self, task: Any, inputs: Mapping[str, Any], start: Start) -> Result:
        """`run`, with what a session or a stream adds to it."""
        bound = self._inputs(task, inputs)
        model = self._model or _current_model(self.predict)
        await self._kit.open()
        try:
            return await self._run(model, bound, start)
        finally:
            await self._kit.close()

    async def _run(self, model: Model, inputs: dict[str, Any], start: Start) -> Result:
        life = Life.of(start, inputs, self._journal, self._sinks)
        effects = self._effects(life)
        task = self.signature.render(inputs)
        scope = Scope(self._user, self.name, start.session_id, life.run_id)
        remembering = Remembering(self._memory, task, scope, effects, life.emitter)
        if not start.messages:
            start.messages.extend(opening(self.signature, self.predict.demos))
        life.begin(self.name, model.name, type(self).__name__)
        begun = Task(remembering, start.messages, life.heard, start.stream_text)
        return await self._loop(model, effects, life.emitter, begun).run()

    def _effects(self, life: Life) -> Effects:
        limits, spent = self._limits, life.seconds
        budget = self._budget.child(limits) if self._budget is not None else Budget(limits, seconds_spent=spent)
        approver = life.approver(self._approver)
        gate = Gate(
            self._policy,
            budget,
            approver=approver,
            audit=self._audit,
            emitter=life.emitter,
            mode=self.mode,
            grants=self.grants,
            session_id=life.start.session_id,
        )
        return Effects(gate, life.steps, f"agent:{self.name}", f"user:{self._user}")

    def _loop(self, model: Model, effects: Effects, emitter: Emitter, task: Task) -> Loop:
        toolbox = self._kit.toolbox
        calls = ToolCalls(toolbox, effects, emitter, self._observation_chars, self._artifacts)
        signature = self.signature
        cells = None
        if self.actions & Actions.CODE:
            cells = Cells(
                self._kit.sandbox,
                toolbox,
                calls,
                effects,
                emitter,
                outputs=tuple(signature.outputs),
                timeout=self._cell_timeout,
                most_chars=self._observation_chars,
            )
        progress = Progress(signature)
        acting = Acting(toolbox, calls, cells, effects, progress)
        return Loop(self._offer, model, effects, emitter, acting, progress, task)

    def _offer(self, native: bool) -> Offer:
        code = bool(self.actions & Actions.CODE)
        sandbox = self._kit.sandbox if code else None
        instructions: str = self.predict.signature.instructions
        return make_offer(instructions, self.signature, native, self._kit.toolbox.tools, sandbox, self.actions)


class ReAct(Agent):
    """An agent whose model calls the tools itself (ReAct, arXiv:2210.03629)."""

    actions = Actions.TOOLS


class CodeAct(Agent):
    """An agent whose model writes Python that calls the tools, run in a sandbox (CodeAct, arXiv:2402.01030)."""

    actions = Actions.CODE


def _toolbox(tools: Toolbox | Sequence[ToolSource | Tool | Callable[..., Any]], artifacts: Artifacts | None) -> Toolbox:
    if isinstance(tools, Toolbox):
        if artifacts is not None:
            raise DefinitionError("a ready toolbox takes its own artifacts: Toolbox(..., artifacts=...)")
        return tools
    return Toolbox(*tools) if artifacts is None else Toolbox(*tools, artifacts)


def _with_an_end(limits: Limits) -> Limits:
    return limits if "steps" in limits.model_fields_set else limits.model_copy(update={"steps": DEFAULT_STEPS})


def _current_model(predict: Any) -> Model:
    lm: Any = predict.lm or _dspy_settings().lm
    if lm is None:
        raise DefinitionError("there is no model: pass lm=..., for example Agent(..., lm='openai/gpt-4o-mini')")
    return Model(lm)


def _dspy_settings() -> Any:
    settings: Any = cast("Any", dspy).settings
    return settings
