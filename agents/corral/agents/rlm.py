"""RLM: `dspy.RLM` as an agent, for inputs too long for any prompt; its models and its code pass the same gate."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import anyio
import dspy
from dspy.lm15 import Request, Response, ServerError, Usage, response_to_events
from dspy.primitives.code_interpreter import CodeExecutionError, CodeInterpreterError
from pydantic_core import to_jsonable_python

from corral.agents.agent import Agent
from corral.agents.assembly import Assembly, Role
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import AgentError, DefinitionError, JournalError
from corral.agents.guards import Refused
from corral.agents.interpreter import instructions, read_execution
from corral.agents.life import Life
from corral.agents.makeup import Makeup
from corral.agents.model import Model
from corral.agents.prompt import Actions
from corral.agents.result import Result, StopReason
from corral.agents.terms import Terms
from corral.agents.toolcalls import ToolCalls
from corral.policy import BudgetExceeded, Denied, Emitter, ModelCalled, RunFinished, Spend, StepStarted
from corral.sandbox import Host, Sandbox, SandboxError, SandboxProvider, SandboxSpec
from corral.tools import Tool

__all__ = ["RLM"]

T = TypeVar("T")


class RLM(Agent):
    """An agent whose inputs are variables in a sandbox, read by code that asks a model about parts of them (RLM,
    arXiv:2512.24601).

    `dspy.RLM` leads it; each model call, cell and tool call passes the gate and costs from the budget. It is not
    resumed, streams no text and takes no turns of a session.

    Args:
        max_iters: Cells of one run.
        max_llm_calls: Questions that its code asks.
        options: Those of `Agent`; the provider must be one where `import dspy` of DSPy's own making works, as in
            Docker.
    """

    actions = Actions.CODE

    def __init__(
        self, signature: Any, tools: Any = (), *, max_iters: int = 20, max_llm_calls: int = 50, **options: Any
    ) -> None:
        super().__init__(signature, tools, **options)
        self._max_iters = max_iters
        self._max_llm_calls = max_llm_calls

    async def _run(self, model: Model, inputs: dict[str, Any], terms: Terms) -> Result:
        if terms.start.resumed is not None:
            raise DefinitionError("an RLM can't be resumed: its calls have no order of their own")
        role = Role(self.signature, self.predict.signature.instructions, (), self.actions)
        given, life = terms.given, Life.of(terms, inputs)
        assembly = Assembly(life)
        effects = assembly.effects
        inputs, refused = await assembly.enter(inputs, self.signature)
        makeup = Makeup.of(role.signature, role.instructions, given.kit)
        life.begin(self.name, model.name, type(self).__name__, makeup, missing=self.toolbox.failures)
        assembly.border.begun()
        assembly.introduce(role, inputs)
        progress = Progress(self.signature)
        bridge = _Bridge(effects, life.emitter, progress, asyncio.get_running_loop())
        interpreters = _Interpreters(bridge, given.kit.sandbox, given.cell_timeout)
        tools = [_as_dspy(tool, assembly.calls, bridge) for tool in given.kit.toolbox.tools]
        try:
            if refused is not None:
                raise refused
            prediction = await self._lead(bridge.lm(model), interpreters, tools, inputs)
            progress.outputs = {name: getattr(prediction, name, None) for name in self.signature.outputs}
            progress.release(await assembly.border.leave(progress.outputs, self.signature, progress.steps, ()))
            progress.reason = StopReason.DONE
        except asyncio.CancelledError:
            progress.reason = StopReason.CANCELLED
            raise
        except Refused as error:
            progress.withhold()
            progress.end(StopReason.DENIED, error)
        except Exception as error:  # noqa: BLE001 - DSPy wraps what ended it; the bridge has what it was
            progress.end(*bridge.why(error))
        finally:
            bridge.closed = True
            with anyio.CancelScope(shield=True), anyio.move_on_after(10):
                await interpreters.close()
            try:
                _finish(life.emitter, effects, progress)
            except JournalError as error:
                progress.end(StopReason.ERROR, error)
            assembly.tell_caller(progress.usage + effects.below.usage, effects.below.unknown)
        return _result(life.emitter, effects, progress)

    async def _lead(self, lm: dspy.LM, interpreters: _Interpreters, tools: list[Any], inputs: dict[str, Any]) -> Any:
        module: Any = cast("Any", dspy)
        led = module.RLM(
            self.predict.signature,
            max_iters=self._max_iters,
            max_llm_calls=self._max_llm_calls,
            tools=tools,
            interpreter_factory=interpreters,
        )

        def work() -> Any:
            with module.context(lm=lm, disable_history=True, interpreter_factory=interpreters):
                return led(**inputs)

        context = contextvars.copy_context()
        return await anyio.to_thread.run_sync(lambda: context.run(work), abandon_on_cancel=True)


class _Bridge:
    """From DSPy's threads into the run's event loop, and what ended the run on the way."""

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset(("temperature", "max_tokens"))

    def __init__(self, effects: Effects, emitter: Emitter, progress: Progress, loop: asyncio.AbstractEventLoop) -> None:
        self.effects = effects
        self.emitter = emitter
        self.progress = progress
        self.closed = False
        self._loop = loop
        self._ended: Exception | None = None
        self._model: Model | None = None

    def lm(self, model: Model) -> dspy.LM:
        """A `dspy.LM` whose every call is the run's own."""
        self._model = model
        return dspy.LM(model.name, engine=self, cache=False, num_retries=0)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self.closed:
            work.close()
            raise CodeInterpreterError("the run is over")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def complete(self, request: Request) -> Response:
        try:
            return self.wait(self._ask(request))
        except (Denied, BudgetExceeded, AgentError) as error:
            self._ended = self._ended or error
            raise ServerError(str(error)) from error

    def stream(self, request: Request) -> Iterator[Any]:
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        pass

    def why(self, error: Exception) -> tuple[StopReason, str]:
        ended = self._ended
        if isinstance(ended, BudgetExceeded):
            return StopReason(ended.limit), str(ended)
        if isinstance(ended, Denied):
            return StopReason.DENIED, str(ended)
        return (StopReason.MODEL_ERROR, str(ended)) if ended else (StopReason.ERROR, str(error))

    async def _ask(self, request: Request) -> Response:
        assert self._model is not None
        model, progress = self._model, self.progress
        progress.steps += 1
        step = progress.steps
        self.emitter.emit(StepStarted(step=step))
        asked = replace(request, model=model.name, config=model.config())
        generation = await self.effects.models.generate(model, asked, step, Spend(steps=1), None)
        usage = generation.usage
        progress.usage += usage
        called = ModelCalled(
            step=step,
            model=generation.model or model.name,
            usage=usage,
            seconds=generation.seconds,
            finish_reason=generation.finish_reason,
        )
        self.emitter.emit(called)
        spent = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        reason: Any = generation.finish_reason
        return Response(id=None, model=request.model, message=generation.message, finish_reason=reason, usage=spent)


class _Interpreters:
    """Makes interpreters for DSPy: one for the agent, and one for each sub-agent that its code starts."""

    def __init__(self, bridge: _Bridge, provider: SandboxProvider, timeout: float) -> None:
        self.execution_instructions = instructions(bridge.effects.cells.network(provider))
        self._bridge = bridge
        self._provider = provider
        self._timeout = timeout
        self._made: list[_Interpreter] = []

    def __call__(self) -> _Interpreter:
        made = _Interpreter(self._bridge, self._provider, self._timeout)
        self._made.append(made)
        return made

    async def close(self) -> None:
        for interpreter in self._made:
            await interpreter.close()


class _Interpreter:
    """A sandbox session of the run behind DSPy's interpreter protocol."""

    def __init__(self, bridge: _Bridge, provider: SandboxProvider, timeout: float) -> None:
        self.tools: dict[str, Callable[..., Any]] = {}
        self.output_fields: list[dict[str, Any]] | None = None
        self._bridge = bridge
        self._provider = provider
        self._timeout = timeout
        self._session: Sandbox | None = None

    def start(self) -> None:
        pass

    def shutdown(self) -> None:
        if not self._bridge.closed:
            self._bridge.wait(self.close())

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        given = to_jsonable_python(variables or {}, fallback=str)
        return self._bridge.wait(self._execute(code, given, contextvars.copy_context()))

    def __call__(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        return self.execute(code, variables)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _execute(self, code: str, variables: Mapping[str, Any], context: contextvars.Context) -> Any:
        async def call(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
            function = self.tools[name]
            found = await anyio.to_thread.run_sync(lambda: context.copy().run(function, *args, **kwargs))
            return to_jsonable_python(found, fallback=str)

        outputs = ("output",) if self.output_fields is None else tuple(str(f["name"]) for f in self.output_fields)
        host = Host(tuple(self.tools), call, outputs)
        try:
            if self._session is None:
                self._session = await self._provider.open(
                    SandboxSpec(
                        label=self._bridge.emitter.run_id[:12],
                        network=self._bridge.effects.cells.network(self._provider),
                    )
                )
            execution = await self._bridge.effects.cells.execute(
                self._session, code, self._timeout, host, variables=variables
            )
        except (Denied, BudgetExceeded) as error:
            raise CodeExecutionError(str(error)) from error
        except SandboxError as error:
            raise CodeInterpreterError(str(error)) from error
        self._bridge.effects.cells.printed(f"{execution.output}\n{execution.value}")
        return read_execution(execution)


def _as_dspy(tool: Tool, calls: ToolCalls, bridge: _Bridge) -> Any:
    made = 0

    def call(**arguments: Any) -> Any:
        nonlocal made
        made += 1
        step = f"tool/{tool.name}/{made}"
        outcome = bridge.wait(calls.make(tool.name, arguments, step, step, cell="rlm"))
        if outcome.denied is not None:
            bridge.progress.denied.append(outcome.denied)
        if outcome.is_error:
            raise CodeExecutionError(outcome.text)
        return outcome.value

    schema = cast("dict[str, Any]", tool.input_schema.get("properties", {}))
    return dspy.Tool(call, name=tool.name, desc=tool.description, args=schema, arg_types=dict.fromkeys(schema, Any))


def _finish(emitter: Emitter, effects: Effects, progress: Progress) -> None:
    budget = effects.gate.budget
    emitter.emit(
        RunFinished(
            reason=(progress.reason or StopReason.ERROR).value,
            outputs=to_jsonable_python(progress.outputs, fallback=str),
            usage=progress.usage + effects.below.usage,
            steps=progress.steps,
            tool_calls=budget.spent.tool_calls,
            seconds=budget.seconds_spent(),
            detail=progress.detail,
        )
    )


def _result(emitter: Emitter, effects: Effects, progress: Progress) -> Result:
    budget = effects.gate.budget
    return Result(
        run_id=emitter.run_id,
        reason=progress.reason or StopReason.ERROR,
        outputs=progress.outputs,
        text="",
        usage=progress.usage + effects.below.usage,
        steps=progress.steps,
        tool_calls=budget.spent.tool_calls,
        seconds=budget.seconds_spent(),
        detail=progress.detail,
        spent=budget.spent,
        label=effects.seen,
        denied=tuple(progress.denied),
    )
