"""Agents: a task's signature and its collaborators, run by the one loop."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import dspy
from dspy.lm15 import Message
from pydantic_core import to_jsonable_python

from corral.agents.cells import Cells
from corral.agents.door import run_in_background
from corral.agents.effects import Effects
from corral.agents.errors import DefinitionError
from corral.agents.kit import Kit
from corral.agents.loop import Loop
from corral.agents.model import Model, ModelSpec
from corral.agents.prompt import Actions, make_offer, opening
from corral.agents.remembering import Remembering
from corral.agents.result import Result
from corral.agents.signature import TaskSignature
from corral.agents.steps import InlineSteps
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
    Limits,
    Policy,
    RunStarted,
    Sink,
)
from corral.sandbox import SandboxProvider
from corral.tools import Tool, Toolbox, ToolSource

__all__ = ["Agent", "CodeAct", "ReAct", "Start"]

DEFAULT_STEPS = 30
"""For agents whose limits name none: enough for most tasks, and an end for those that go round in circles."""


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        messages: The conversation so far; the run adds to this very list, so that it is there even if the run is
            cancelled.
    """

    sinks: tuple[Sink, ...] = ()
    stream_text: bool = False
    messages: list[Message] = field(default_factory=list[Message])
    session_id: str | None = None


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
        sinks: Who else hears every event, such as a `Journal`.
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
        sinks: Sequence[Sink] = (),
        name: str = "main",
        user: str = "local",
        actions: Actions | None = None,
        cell_timeout: float = 30.0,
        observation_chars: int = 16_000,
    ) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - DSPy's own is not annotated
        read = TaskSignature.of(signature)
        self.predict: Any = dspy.Predict(signature)
        self._read: tuple[Any, TaskSignature] | None = (self.predict.signature, read)
        if actions is not None:
            self.actions = actions
        self.name = name
        self._kit = Kit(
            tools if isinstance(tools, Toolbox) else Toolbox(*tools), sandbox, bool(self.actions & Actions.CODE)
        )
        self._model = lm if isinstance(lm, Model) or lm is None else Model(lm)
        self._policy = policy or Policy.safe()
        self._limits = self._policy.limits.narrowed(_with_an_end(limits or Limits()))
        self._budget = budget
        self._approver = approver
        self._audit = audit
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
        run_id = uuid.uuid4().hex
        emitter = Emitter(run_id, (*self._sinks, *start.sinks))
        effects = self._effects(run_id, emitter)
        emitter.emit(
            RunStarted(
                agent=self.name,
                model=model.name,
                kind=type(self).__name__,
                inputs=to_jsonable_python(inputs, fallback=str),
            )
        )
        task = self.signature.render(inputs)
        scope = Scope(self._user, self.name, start.session_id, run_id)
        remembering = Remembering(self._memory, task, scope, effects, emitter)
        start.messages.extend(opening(self.signature, self.predict.demos if not start.messages else ()))
        return await self._loop(model, effects, emitter, start, remembering).run()

    def _effects(self, run_id: str, emitter: Emitter) -> Effects:
        budget = self._budget.child(self._limits) if self._budget is not None else Budget(self._limits)
        gate = Gate(self._policy, budget, approver=self._approver, audit=self._audit, emitter=emitter)
        return Effects(gate, InlineSteps(run_id), f"agent:{self.name}", f"user:{self._user}")

    def _loop(self, model: Model, effects: Effects, emitter: Emitter, start: Start, remembering: Remembering) -> Loop:
        toolbox = self._kit.toolbox
        calls = ToolCalls(toolbox, effects, emitter, self._observation_chars)
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
        sandbox = self._kit.sandbox if cells else None
        offer = make_offer(self.predict.signature.instructions, signature, model, toolbox.tools, sandbox, self.actions)
        return Loop(
            offer,
            model,
            effects,
            emitter,
            toolbox,
            calls,
            cells,
            remembering,
            start.messages,
            stream_text=start.stream_text,
        )


class ReAct(Agent):
    """An agent whose model calls the tools itself (ReAct, arXiv:2210.03629)."""

    actions = Actions.TOOLS


class CodeAct(Agent):
    """An agent whose model writes Python that calls the tools, run in a sandbox (CodeAct, arXiv:2402.01030)."""

    actions = Actions.CODE


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
