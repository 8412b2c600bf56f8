"""Models: a strict definition, and one way to ask.

DSPy drops `temperature` and `max_tokens` of an LM on requests of our own, sends unknown arguments over the wire, and
switches to LiteLLM for settings that it does not know; so a model is defined here, where unknown settings are errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import dspy
from dspy.lm15 import AuthError, Config, ConfigurationError, Message, Request, Response, TextPart
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from corral.agents.codec import message_from_json, message_to_json
from corral.agents.engine import Engine, engine_for, route
from corral.agents.errors import DefinitionError, ModelError
from corral.agents.price import Price, known_price
from corral.agents.steps import Codec
from corral.agents.tokens import message_tokens, request_tokens
from corral.policy import Usage

__all__ = ["Generation", "Model", "ModelSpec"]

_ATTEMPTS = 3
_LONGEST_WAIT = 30.0
"""Seconds; what a server asks for by Retry-After is capped by it."""


class ModelSpec(BaseModel):
    """Which model, where, and how it is sampled; an unknown setting is an error.

    Attributes:
        model: "provider/name", such as "openai/gpt-4o-mini" or "anthropic/claude-sonnet-4-5".
        api_base: Address of an OpenAI-compatible server, up to and including its version, as in
            "http://127.0.0.1:8000/v1"; None is the provider's own.
        api_key: None leaves it to the provider's usual environment variable.
        max_tokens: Of one answer.
        timeout: Seconds to wait for the next byte.
        price: For models that are in no price list; a money limit needs it.
        native_tools: Whether the model takes function calls; without, tools are offered in a text protocol.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    api_base: str | None = Field(default=None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    timeout: float = Field(default=120.0, gt=0)
    price: Price | None = None
    native_tools: bool = True

    @classmethod
    def of(cls, **settings: Any) -> ModelSpec:
        """A specification from loose settings.

        Raises:
            DefinitionError: One is unknown or wrong.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise DefinitionError(f"model setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer of a model.

    Attributes:
        finish_reason: lm15's: "stop", "tool_call", "length", "content_filter" ...
        estimated: Whether the server reported no usage and it was estimated from the text.
    """

    message: Message
    usage: Usage
    finish_reason: str
    seconds: float
    estimated: bool = False

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.message.parts if isinstance(part, TextPart))


class Model:
    """A model that can be asked; several runs may share it. Close it when no run needs it any more.

    Args:
        definition: A name, a specification, or a `dspy.LM` of your own.
    """

    def __init__(self, definition: str | ModelSpec | dspy.LM) -> None:
        if isinstance(definition, str):
            definition = ModelSpec.of(model=definition)
        self.spec = definition if isinstance(definition, ModelSpec) else None
        self.lm: Any = _connect(definition) if isinstance(definition, ModelSpec) else definition
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, Engine] = WeakKeyDictionary()
        self._sampling = _sampling(self.lm)
        self._price: Price | None = self.spec.price if self.spec else None
        self._priced = self._price is not None

    @property
    def name(self) -> str:
        return self.lm.model

    @property
    def resource(self) -> str:
        """The name that rules see."""
        return f"model:{self.lm.model}"

    @property
    def native_tools(self) -> bool:
        """Whether tools are offered as function calls."""
        if self.spec is not None:
            return self.spec.native_tools
        engine = self.lm.engine
        return True if isinstance(engine, str) else bool(getattr(engine, "supports_function_calling", False))

    @property
    def max_tokens(self) -> int | None:
        """The longest answer that was asked for, in tokens."""
        return self._sampling.max_tokens

    def price(self) -> Price | None:
        """What tokens cost, or None when nobody knows: a server of one's own has no list price."""
        if not self._priced:
            self._priced = True
            if (route := self._open().route) is not None and not self.lm.kwargs.get("api_base"):
                self._price = known_price(*route)
        return self._price

    def config(self, **changes: Any) -> Config:
        """The sampling settings that go on the wire, with `changes`."""
        return replace(self._sampling, **changes) if changes else self._sampling

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Generation:
        """Ask once; transient failures are tried again as long as no text was handed out.

        Args:
            on_text: Called with each piece of text as it arrives; without it the answer is fetched whole.

        Raises:
            DefinitionError: The key is missing or refused, or the model can't be routed.
            ModelError: There is no answer, and trying again did not or would not help.
        """
        engine = self._open()
        started = time.perf_counter()
        heard = _Heard(on_text)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception(lambda error: not heard.anything and engine.is_transient(error)),
            reraise=True,
        )
        try:
            response: Response = await retrying(engine.complete, request, heard if on_text else None)
        except _USERS_FAULT as error:
            raise DefinitionError(f"the model {self.name} can't be used: {_one_line(error)}") from error
        except engine.errors as error:
            raise ModelError(self.name, _one_line(error)) from error
        return self._generation(request, response, time.perf_counter() - started)

    async def close(self) -> None:
        """Close the connections that were opened in this event loop."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.close()

    def _open(self) -> Engine:
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None or not engine.fits():
            engine = self._engines[loop] = engine_for(self.lm)
        return engine

    def _generation(self, request: Request, response: Response, seconds: float) -> Generation:
        usage, estimated = self._usage(request, response)
        return Generation(response.message, usage, response.finish_reason, seconds, estimated)

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
    if spec.api_base is not None:
        settings["api_base"] = spec.api_base
    if spec.api_key is not None:
        settings["api_key"] = spec.api_key.get_secret_value()
    elif spec.api_base is not None:
        settings["api_key"] = "none"  # local servers want some key, and the provider's own must not go elsewhere
    try:
        lm: Any = dspy.LM(spec.model, cache=False, num_retries=0, engine="lm15", **settings)
    except (ValueError, TypeError, dspy.LMError) as error:
        raise DefinitionError(f"the model {spec.model!r} can't be used: {_one_line(error)}") from None
    route(lm)
    return lm


def _sampling(lm: Any) -> Config:
    kwargs: dict[str, Any] = lm.kwargs
    return Config(
        temperature=kwargs.get("temperature"),
        top_p=kwargs.get("top_p"),
        max_tokens=kwargs.get("max_tokens") or kwargs.get("max_completion_tokens"),
        seed=kwargs.get("seed"),
    )


_USERS_FAULT = (AuthError, ConfigurationError, dspy.LMAuthError, dspy.LMConfigurationError)
"""No key, a wrong one, a provider that nobody knows."""

_jittered = wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    return min(asked, _LONGEST_WAIT) if asked is not None else _jittered(state)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _dump(generation: Generation) -> Any:
    usage = generation.usage
    return {
        "message": message_to_json(generation.message),
        "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd],
        "finish_reason": generation.finish_reason,
        "seconds": generation.seconds,
        "estimated": generation.estimated,
    }


def _load(data: Any) -> Generation:
    return Generation(
        message_from_json(data["message"]),
        Usage(*data["usage"]),
        data["finish_reason"],
        data["seconds"],
        data["estimated"],
    )


GENERATION = Codec(_dump, _load)
"""How a stored model step keeps its answer."""
