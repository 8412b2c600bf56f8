"""Models: a strict definition, and one way to ask.

DSPy drops `temperature` and `max_tokens` of an LM on requests of our own, sends unknown arguments over the wire, and
switches to LiteLLM for settings that it does not know; so a model is defined here, where unknown settings are errors.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import anyio
import dspy
from dspy.lm15 import Config, Reasoning, Request, Response

from corral.agents.cache import AnswerCache
from corral.agents.engine import Engine, engine_for, route
from corral.agents.errors import (
    AgentError,
    CallsUnreadable,
    ContextOverflow,
    DefinitionError,
    ModelError,
    ToolsUnsupported,
)
from corral.agents.failure import asked_to_wait, explain_failure, one_line
from corral.agents.generation import GENERATION, Generation
from corral.agents.modelspec import ModelSpec
from corral.agents.price import Price, known_price, known_sight, known_window
from corral.agents.tokens import message_tokens, request_tokens
from corral.policy import Usage

__all__ = ["GENERATION", "PATIENCE", "Ask", "Generation", "Model", "ModelSpec"]

_ATTEMPTS = 3
PATIENCE = 30.0
"""Seconds; what a server asks for by Retry-After is capped by it."""


class Ask(Protocol):
    """Asks one model, held by the gate."""

    def __call__(self, model: Model, request: Request, patience: float, /) -> Awaitable[Generation]: ...


class Model:
    """A model that can be asked; several runs may share it. Close it when no run needs it any more.

    Args:
        definition: A name, a specification, or a `dspy.LM` of your own.
        cache: Where answers are kept and looked for; none by default, and never DSPy's own.
    """

    def __init__(self, definition: str | ModelSpec | dspy.LM, *, cache: AnswerCache | None = None) -> None:
        if isinstance(definition, str):
            definition = ModelSpec.of(model=definition)
        self.spec = definition if isinstance(definition, ModelSpec) else None
        self.lm: Any = _connect(definition) if isinstance(definition, ModelSpec) else definition
        self._cache = cache
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, Engine] = WeakKeyDictionary()
        self._sampling = _sampling(self.lm)
        self._deadline = self.spec.deadline if self.spec else None
        self._price: Price | None = self.spec.price if self.spec else None
        self._priced = self._price is not None
        self._window = self.spec.context_window if self.spec else None
        self._measured = self._window is not None
        self._text_only = False

    @property
    def name(self) -> str:
        return self.lm.model

    @property
    def resource(self) -> str:
        """The name that rules see."""
        return f"model:{self.lm.model}"

    @property
    def endpoint(self) -> str:
        """What fails as one: the server's address, or the provider."""
        return self.lm.kwargs.get("api_base") or self.lm.model.partition("/")[0]

    @property
    def native_tools(self) -> bool:
        """Whether tools are offered as function calls."""
        if self._text_only:
            return False
        if self.spec is not None:
            return self.spec.native_tools
        engine = self.lm.engine
        return True if isinstance(engine, str) else bool(getattr(engine, "supports_function_calling", False))

    def without_native_tools(self) -> None:
        """The server said that it takes no function calls: runs from now on offer tools in text."""
        self._text_only = True

    @property
    def max_tokens(self) -> int | None:
        """The longest answer that was asked for, in tokens."""
        return self._sampling.max_tokens

    def price(self) -> Price | None:
        """What tokens cost, or None when nobody knows: a server of one's own has no list price."""
        if not self._priced:
            self._priced = True
            if (listed := self._listed()) is not None:
                self._price = known_price(*listed)
        return self._price

    @property
    def sees(self) -> bool:
        """Whether pictures that tools return are shown to it."""
        if self.spec is not None and self.spec.images is not None:
            return self.spec.images
        return (listed := self._listed()) is not None and known_sight(*listed)

    def context_window(self) -> int | None:
        """Tokens of prompt and answer together, or None as long as nobody knows."""
        if not self._measured:
            self._measured = True
            if (listed := self._listed()) is not None:
                self._window = known_window(*listed)
        return self._window

    def learn_window(self, tokens: int) -> None:
        """A server refused a prompt: the window is at most this."""
        known = self.context_window()
        self._window = tokens if known is None else min(known, tokens)

    def config(self, **changes: Any) -> Config:
        """The sampling settings that go on the wire, with `changes`."""
        return replace(self._sampling, **changes) if changes else self._sampling

    async def answer(self, request: Request, ask: Ask) -> Generation:
        """The answer, by `ask`ing this model; a model that stands for several asks the one that can be had."""
        return await ask(self, request, PATIENCE)

    async def generate(
        self, request: Request, *, on_text: Callable[[str], None] | None = None, patience: float = PATIENCE
    ) -> Generation:
        """Ask once; transient failures are tried again as long as no text was handed out.

        Args:
            on_text: Called with each piece of text as it arrives; without it the answer is fetched whole.
            patience: Seconds; a server that asks for a longer wait is not waited for if that is less than the usual.

        Raises:
            DefinitionError: The key is missing or refused, or the model can't be routed.
            ModelError: There is no answer, and trying again did not or would not help.
        """
        kept = self._cache.get(self.endpoint, request) if self._cache is not None else None
        if kept is not None:
            if on_text is not None and kept.text:
                on_text(kept.text)
            return kept
        started = time.perf_counter()
        heard = _Heard(on_text)
        response = await self._attempt(self._open(), request, heard, patience)
        generation = self._generation(request, response, time.perf_counter() - started, heard.garbled)
        if self._cache is not None:
            self._cache.put(self.endpoint, request, generation)
        return generation

    async def close(self) -> None:
        """Close the connections that were opened in this event loop."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.close()

    async def _attempt(self, engine: Engine, request: Request, heard: _Heard, patience: float) -> Response:
        try:
            if self._deadline is None:
                return await self._try(engine, request, heard, patience)
            with anyio.fail_after(self._deadline):
                return await self._try(engine, request, heard, patience)
        except engine.errors as error:
            transient = engine.is_transient(error) and not heard.anything
            raise explain_failure(self.name, error, transient=transient, endpoint=self.endpoint) from error
        except TimeoutError as error:
            late = f"there was none within {self._deadline:g} s"
            raise ModelError(self.name, late, not heard.anything) from error

    async def _try(self, engine: Engine, request: Request, heard: _Heard, patience: float) -> Response:
        """The answer, by as many attempts as it takes and are worth it.

        By hand, as a retrying object for each call costs as much as all else that the loop does in a step.
        """
        attempt = 1
        while True:
            try:
                return await engine.complete(request, heard if heard.listens else None)
            except engine.errors as error:
                if attempt == _ATTEMPTS or heard.anything or not self._worth_another(engine, error, patience):
                    raise
                heard.garbled += _is_unreadable(self.name, error)
                wait = _wait(error, attempt)
            await anyio.sleep(wait)
            attempt += 1

    def _worth_another(self, engine: Engine, error: BaseException, patience: float) -> bool:
        asked = asked_to_wait(error)
        soon = asked is None or asked <= patience or patience >= PATIENCE
        return soon and engine.is_transient(error) and _is_only_transient(self.name, error)

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        # DSPy's optimisers copy agents: the copies ask the same model.
        return self

    def _listed(self) -> tuple[str, str] | None:
        """Provider and model as price lists name them; None for a server of one's own."""
        return None if self.lm.kwargs.get("api_base") else self._open().route

    def _open(self) -> Engine:
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None or not engine.fits():
            engine = self._engines[loop] = engine_for(self.lm)
        return engine

    def _generation(self, request: Request, response: Response, seconds: float, repairs: int) -> Generation:
        usage, estimated = self._usage(request, response)
        return Generation(
            response.message, usage, response.finish_reason, seconds, estimated, self.name, repairs=repairs
        )

    def _usage(self, request: Request, response: Response) -> tuple[Usage, bool]:
        reported = response.usage
        cached = reported.cache_read_tokens or 0
        estimated = reported.input_tokens is None or reported.output_tokens is None
        inputs = reported.input_tokens if reported.input_tokens is not None else request_tokens(request)
        outputs = reported.output_tokens
        if outputs is None:
            outputs = message_tokens(response.message)
        if "anthropic" in self.name or "claude" in self.name:
            # Anthropic's input_tokens leave out what was read from or written to the prompt cache.
            inputs += cached + (reported.cache_write_tokens or 0)
        price = self.price()
        cost = price.cost(inputs, outputs, min(cached, inputs)) if price else None
        return Usage(inputs, outputs, cached, cost), estimated


class _Heard:
    """Hands text on, and remembers that there was some: after that an attempt must not be repeated."""

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self._on_text = on_text
        self.anything = False
        self.garbled = 0
        """Answers that came and could not be read."""

    @property
    def listens(self) -> bool:
        """Whether anyone wants the text as it arrives."""
        return self._on_text is not None

    def __call__(self, text: str) -> None:
        self.anything = True
        if self._on_text is not None:
            self._on_text(text)


def _connect(spec: ModelSpec) -> Any:
    settings: dict[str, Any] = {"temperature": spec.temperature, "max_tokens": spec.max_tokens, "timeout": spec.timeout}
    if spec.top_p is not None:
        settings["top_p"] = spec.top_p
    if spec.seed is not None:
        settings["seed"] = spec.seed
    if spec.stop:
        settings["stop"] = list(spec.stop)
    if spec.reasoning is not None:
        settings["reasoning_effort"] = spec.reasoning
    if spec.api_base is not None:
        settings["api_base"] = spec.api_base
    if spec.api_key is not None:
        settings["api_key"] = spec.api_key.get_secret_value()
    elif spec.api_base is not None:
        settings["api_key"] = "none"  # local servers want some key, and the provider's own must not go elsewhere
    try:
        lm: Any = dspy.LM(spec.model, cache=False, num_retries=0, engine="lm15", **settings)
    except (ValueError, TypeError, dspy.LMError) as error:
        raise DefinitionError(f"the model {spec.model!r} can't be used: {one_line(error)}") from None
    route(lm)
    return lm


_CARRIED = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "service_tier")
_ASIDE = frozenset(("api_key", "api_base", "base_url", "timeout", "rollout_id", "max_tokens", "max_completion_tokens"))
"""Settings of an LM that are no sampling, or said under another name."""


def _sampling(lm: Any) -> Config:
    """What an LM's settings say of sampling; DSPy itself leaves them out of requests of our own.

    Raises:
        DefinitionError: One is wrong, or would never reach the wire.
    """
    kwargs: dict[str, Any] = {name: value for name, value in lm.kwargs.items() if value is not None}
    effort, stop = kwargs.get("reasoning_effort"), kwargs.get("stop", ())
    lost = sorted(set(kwargs) - {*_CARRIED, *_ASIDE, "reasoning_effort", "stop"})
    if lost and isinstance(lm.engine, str) and route(lm).native:
        raise DefinitionError(f"the LM's setting {lost[0]!r} does not reach the model from an agent; leave it out")
    try:
        return Config(
            max_tokens=kwargs.get("max_tokens") or kwargs.get("max_completion_tokens"),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            reasoning=None if effort is None else Reasoning(effort),
            **{name: kwargs[name] for name in _CARRIED if name in kwargs},
        )
    except (ValueError, TypeError) as error:
        raise DefinitionError(f"the settings of the LM {lm.model!r} are wrong: {error}") from None


def _is_only_transient(name: str, error: BaseException) -> bool:
    """llama.cpp says of a prompt that is too long, now and for ever, with status 500."""
    meant: AgentError = explain_failure(name, error, transient=True)
    return isinstance(meant, ModelError) and not isinstance(meant, ContextOverflow | ToolsUnsupported)


def _is_unreadable(name: str, error: BaseException) -> bool:
    return isinstance(explain_failure(name, error, transient=True), CallsUnreadable)


def _wait(error: BaseException, attempt: int) -> float:
    """Seconds until the next attempt: what the server asks for, capped, or a random part of 0.5, 1, 2 ... 8."""
    asked = asked_to_wait(error)
    return min(asked, PATIENCE) if asked is not None else random.uniform(0, min(8.0, 0.25 * 2**attempt))
