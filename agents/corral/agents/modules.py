"""DSPy modules as tools: their models are asked through the gate, and cost from the budget of the run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, cast

import anyio
import dspy
from dspy.lm15 import Request, Response, ServerError, Usage, response_to_events
from pydantic_core import to_jsonable_python

from corral.agents.caller import CALLER, Caller
from corral.agents.errors import AgentError, DefinitionError
from corral.agents.model import Model, ModelSpec
from corral.agents.signature import TaskSignature, as_text
from corral.policy import BudgetExceeded, Denied
from corral.tools import Effect, Observation, Tool

__all__ = ["module_tool"]


def module_tool(
    module: dspy.Module,
    signature: str | type[dspy.Signature],
    *,
    name: str,
    lm: str | ModelSpec | Model | dspy.LM,
    description: str = "",
    effect: str = "once",
    timeout: float = 300.0,
) -> Tool:
    """A DSPy module, such as `dspy.ChainOfThought(...)`, as the tool "tool:dspy/NAME".

    Its predictors ask `lm` as the run that calls it would: the gate judges each question, and the run's budget pays.
    Tools that the module calls by itself are Python of this process, which no gate sees.

    Args:
        signature: Its inputs and outputs, as the model that calls it sees them.
        effect: "read", "idempotent" or "once", as of functions.
        timeout: Seconds a call may take.

    Raises:
        DefinitionError: A predictor has an LM of its own, which would be asked around the gate.
    """
    read = TaskSignature.of(signature)
    asked: Any = module
    model = lm if isinstance(lm, Model) else Model(lm)
    if own := [name for name, predictor in asked.named_predictors() if predictor.lm is not None]:
        raise DefinitionError(f"{', '.join(own)} of the module has an LM of its own; leave it out, and pass lm= here")

    async def run(arguments: dict[str, Any]) -> Observation:
        caller = CALLER.get()
        if caller is None or caller.ask is None:
            raise RuntimeError("a module can only be called by an agent's run")
        bridge = _Bridge(model, caller)
        try:
            prediction = await bridge.lead(asked, read.bind(arguments))
        except Exception as error:
            raise bridge.ended or error from error
        outputs = {name: getattr(prediction, name, None) for name in read.outputs}
        plain: Any = to_jsonable_python(outputs, fallback=str)
        text = read.text_output
        return Observation(as_text(plain if text is None else plain[text]), None if text else plain)

    return Tool(
        name,
        f"tool:dspy/{name}",
        run,
        description=description or str(getattr(asked, "__doc__", "") or "").partition("\n")[0],
        input_schema=read.inputs_schema,
        output_schema=None if read.text_output else read.schema,
        effect=Effect(effect),
        read_only=effect == "read",
        timeout=timeout,
        trusted=True,
    )


class _Bridge:
    """A DSPy engine whose every question is the run's own, asked from its event loop or from a thread."""

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset(("temperature", "max_tokens"))

    def __init__(self, model: Model, caller: Caller) -> None:
        self._model = model
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self.ended: Exception | None = None
        """What ended the run's part in it: DSPy wraps it."""

    async def lead(self, module: Any, inputs: dict[str, Any]) -> Any:
        """The module's prediction; one that is not async runs in a thread."""
        settings: Any = cast("Any", dspy)
        lm: Any = dspy.LM(self._model.name, engine=self, async_engine=_Async(self), cache=False, num_retries=0)
        if hasattr(module, "aforward"):
            with settings.context(lm=lm, disable_history=True):
                return await module.acall(**inputs)

        def work() -> Any:
            with settings.context(lm=lm, disable_history=True):
                return module(**inputs)

        context = contextvars.copy_context()
        return await anyio.to_thread.run_sync(lambda: context.run(work), abandon_on_cancel=True)

    def complete(self, request: Request) -> Response:
        return asyncio.run_coroutine_threadsafe(self.ask(request), self._loop).result()

    def stream(self, request: Request) -> Iterator[Any]:
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        pass

    async def ask(self, request: Request) -> Response:
        assert self._caller.ask is not None
        try:
            asked = replace(request, model=self._model.name, config=self._model.config())
            generation = await self._caller.ask(self._model, asked, self._caller.below)
        except (Denied, BudgetExceeded, AgentError) as error:
            self.ended = self.ended or error
            raise ServerError(str(error)) from error
        usage = generation.usage
        spent = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        reason: Any = generation.finish_reason
        return Response(id=None, model=request.model, message=generation.message, finish_reason=reason, usage=spent)


class _Async:
    """The same engine, awaited."""

    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge

    async def complete(self, request: Request) -> Response:
        return await self._bridge.ask(request)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        for event in response_to_events(await self._bridge.ask(request)):
            yield event

    async def aclose(self) -> None:
        pass
