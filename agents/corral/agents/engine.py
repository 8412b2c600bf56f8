"""The way to the wire: DSPy's bare lm15 engine where it can be had, `lm.acall` where DSPy must be in between.

Measured on a 10-step run with a loopback server (CPU of the client): the bare engine 3.2 ms, `lm.acall` 14.2 ms; the
difference is thread hops, snapshots and pricing that a run does not need (benchmarks/README.md). `acall` stays for LMs
that have what only it serves: callbacks, DSPy's cache, usage tracking, LiteLLM, a subclass of one's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from copy import copy
from typing import Any, Protocol, cast

import dspy
import dspy.clients.backend_selection as backend_selection
import dspy.clients.engines.lm15_engine as lm15_engine
from dspy.lm15 import (
    AsyncLMRouter,
    LM15Error,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    RouterConfig,
    ServerError,
    StreamAssemblyError,
    StreamDeltaEvent,
    TextDelta,
    TimeoutError,
    TransportError,
    UnknownModelError,
)

from corral.agents.errors import DefinitionError
from corral.agents.rendering import keep_rendered

__all__ = ["Engine", "engine_for", "key_variables", "route"]

OnText = Callable[[str], None]


class Engine(Protocol):
    """One attempt at an answer. Retries are the caller's."""

    @property
    def route(self) -> tuple[str, str] | None:
        """Provider and model as price lists name them; None where there is no price list."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What an attempt raises when the model or its server failed."""
        ...

    async def complete(self, request: Request, on_text: OnText | None) -> Response: ...

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        ...

    def fits(self) -> bool:
        """Whether it is still the right one: DSPy's settings may ask for more, or less, than before."""
        ...

    async def close(self) -> None: ...


def engine_for(lm: Any) -> Engine:
    """The leanest engine that does all that `lm` was set up for, bound to the running loop.

    Raises:
        DefinitionError: The LM's model or settings can't be routed.
    """
    if _needs_dspy(lm):
        return _ThroughDSPy(lm)
    if not isinstance(lm.engine, str):
        return _Custom(lm)
    selection = route(lm)
    return _Bare(lm, selection) if selection.native else _ThroughDSPy(lm)


def route(lm: Any) -> Any:
    """DSPy's choice of a way for `lm`, made without a connection.

    Raises:
        DefinitionError: Nobody knows the provider, or how to reach it with these settings.
    """
    try:
        return cast("Any", backend_selection).select_backend(lm)
    except UnknownModelError:
        raise DefinitionError(
            f"no provider is known for the model {lm.model!r}; name it as provider/name, "
            "and with api_base as openai/NAME"
        ) from None
    except (LM15Error, dspy.LMError) as error:
        raise DefinitionError(f"the model {lm.model!r} can't be used: {error}") from None


def key_variables(lm: Any) -> tuple[str, ...]:
    """Environment variables of which one has to hold the provider's key; none where a key was given.

    Raises:
        DefinitionError: Nobody knows the provider.
    """
    from dspy._vendor.lm15.registry import lookup  # not among the names that DSPy exports

    selection = route(lm)
    if "api_key" in selection.clients or selection.resolution is None:
        return ()
    provider: Any = lookup(selection.resolution.provider)
    return tuple(provider.access.env_keys) if provider is not None else ()


def _needs_dspy(lm: Any) -> bool:
    settings: Any = dspy.settings
    plain = type(lm) is dspy.LM and lm.model_type == "chat"
    return bool(not plain or lm.cache or lm.callbacks or settings.callbacks or settings.usage_tracker)


class _Bare:
    """lm15's own client for the provider; one connection pool for the loop that it was made in."""

    errors: tuple[type[Exception], ...] = (LM15Error,)

    def __init__(self, lm: Any, selection: Any) -> None:
        resolution, clients = selection.resolution, selection.clients
        provider: str = resolution.provider
        base = clients.get("api_base") or clients.get("base_url")
        self.route: tuple[str, str] | None = (provider, resolution.model)
        self._target = f"{provider}:{resolution.model}"
        self._model: str = resolution.model
        self._lm = lm
        self._router = AsyncLMRouter(
            RouterConfig(
                api_keys={provider: clients["api_key"]} if "api_key" in clients else None,
                base_urls={provider: base} if base else None,
                timeouts=cast("Any", lm15_engine).timeouts_for(clients.get("timeout")),
                providers=tuple(bound.definition for bound in lm._providers),
            )
        )
        self._provider: Any = None

    async def complete(self, request: Request, on_text: OnText | None) -> Response:
        if self._provider is None:
            # May read or refresh credentials, from files too.
            provider = await asyncio.to_thread(self._router.lm, self._target)
            if self._provider is None:  # runs that begin at the same time are given the same one
                _mend(provider)
                self._provider = provider
        # The same request to the provider's own name of the model, not looked through once more: in a long run that
        # costs as much as all that the gate does.
        routed = copy(request)
        object.__setattr__(routed, "model", self._model)
        try:
            if on_text is None:
                return await self._provider.complete(routed)
            return await _collect(self._provider.stream(routed), routed, on_text)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            # lm15 reads a reply as it should be; of JSON that is something else it says this.
            raise ServerError(f"the reply can't be read: {error}") from error

    def is_transient(self, error: BaseException) -> bool:
        return _is_transient(error)

    def fits(self) -> bool:
        return not _needs_dspy(self._lm)

    async def close(self) -> None:
        await self._router.aclose()


class _Custom:
    """An engine that the LM's owner supplied, such as a scripted one; borrowed, never closed."""

    errors: tuple[type[Exception], ...] = (LM15Error,)
    route: tuple[str, str] | None = None

    def __init__(self, lm: Any) -> None:
        self._lm = lm
        self._engine: Any = lm._async_engine_spec
        if self._engine is None:
            raise DefinitionError(f"the engine of {lm.model!r} has no async side; pass async_engine= to dspy.LM")

    async def complete(self, request: Request, on_text: OnText | None) -> Response:
        if on_text is None:
            return await self._engine.complete(request)
        return await _collect(self._engine.stream(request), request, on_text)

    def is_transient(self, error: BaseException) -> bool:
        return _is_transient(error)

    def fits(self) -> bool:
        return not _needs_dspy(self._lm)

    async def close(self) -> None:
        pass


class _ThroughDSPy:
    """DSPy's full path: callbacks, cache, usage tracking, LiteLLM. Its text arrives in one piece."""

    errors: tuple[type[Exception], ...] = (dspy.LMError, LM15Error)
    route: tuple[str, str] | None = None

    def __init__(self, lm: Any) -> None:
        self._lm = lm
        self._no_other_way = not _needs_dspy(lm)

    async def complete(self, request: Request, on_text: OnText | None) -> Response:
        response: Response = await self._lm.acall(request)
        if on_text is not None and response.text:
            on_text(response.text)
        return response

    def is_transient(self, error: BaseException) -> bool:
        return isinstance(error, Exception) and bool(dspy.is_retryable_lm_error(error))

    def fits(self) -> bool:
        return _needs_dspy(self._lm) or self._no_other_way

    async def close(self) -> None:
        pass


_TRANSIENT = (RateLimitError, ServerError, TimeoutError, TransportError, StreamAssemblyError)


def _is_transient(error: BaseException) -> bool:
    # A bare ProviderError is a reply that can't be read: no JSON, or a call without a name (status None or 200).
    garbled = type(error) is ProviderError and (cast("Any", error).status or 200) < 400
    return garbled or isinstance(error, _TRANSIENT)


def _mend(provider: Any) -> None:
    if (inner := getattr(provider, "_inner", None)) is not None:
        _read_flat_errors(inner)
        keep_rendered(inner)


def _read_flat_errors(inner: Any) -> None:
    """Have lm15 read `{"object": "error", "message": ...}`, as vLLM before 0.10 and others say it, not only OpenAI's.

    Without, the message is lost, and with it that the prompt was too long. A test pins what this leans on.
    """
    if not hasattr(inner, "normalize_error"):
        return
    kind: Any = cast("Any", type(inner))

    def normalize_error(self: Any, status: int, body: str) -> Any:
        return kind.normalize_error(self, status, _nested(body))

    inner.__class__ = type(kind.__name__, (kind,), {"__slots__": (), "normalize_error": normalize_error})


def _nested(body: str) -> str:
    try:
        said: Any = json.loads(body)
    except ValueError:
        return body
    if not isinstance(said, dict) or "error" in said or "message" not in said:
        return body
    return json.dumps({"error": said})


async def _collect(events: Any, request: Request, on_text: OnText) -> Response:
    # The accumulator is lm15's, and not among the names that DSPy exports.
    from dspy._vendor.lm15.result import StreamAccumulator

    accumulator = StreamAccumulator(request)
    try:
        async for event in events:
            accumulator.push(event)
            if isinstance(event, StreamDeltaEvent) and isinstance(event.delta, TextDelta) and event.delta.text:
                on_text(event.delta.text)
        return accumulator.response()
    finally:
        await events.aclose()
