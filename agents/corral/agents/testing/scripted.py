"""A scripted model: an lm15 engine, so that everything above it is the real thing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, ToolCallPart, Usage, response_to_events

__all__ = ["Call", "Fault", "Reply", "Script", "ScriptedEngine", "scripted_lm"]


@dataclass(frozen=True)
class Call:
    """One function call in a reply; without an id it gets a fresh one."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str | None = None


@dataclass(frozen=True)
class Fault:
    """How a `ScriptedServer` fails instead of answering.

    Attributes:
        body: Sent as it is, with `status`; a dict as JSON.
        retry_after: Seconds that it asks to wait.
        hang: Seconds that it says nothing before.
        cut: Whether it begins the real answer and hangs up in the middle.
    """

    status: int = 500
    body: str | Mapping[str, Any] = ""
    retry_after: float | None = None
    hang: float = 0.0
    cut: bool = False

    @classmethod
    def overflow(cls, window: int, server: str = "vllm") -> Fault:
        """The prompt is too long for `window` tokens, as "openai", "vllm", "vllm-flat", "llama.cpp", "ollama" or
        "lmstudio" says it."""
        long = f"This model's maximum context length is {window} tokens. However, your request has more."
        said: dict[str, dict[str, Any]] = {
            "openai": {"error": {"message": long, "code": "context_length_exceeded"}},
            "vllm": {"error": {"message": long, "type": "BadRequestError", "param": None, "code": 400}},
            "vllm-flat": {"object": "error", "message": long, "type": "BadRequestError", "param": None, "code": 400},
            "llama.cpp": {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_ctx": window,
                }
            },
            "ollama": {"error": {"message": "input length exceeds maximum context length"}},
            "lmstudio": {
                "error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is "
                f"loaded with context length of only {window} tokens, which is not enough."
            },
        }
        return cls(400, said[server])


@dataclass(frozen=True)
class Reply:
    """What the model says next.

    Attributes:
        error: Raised instead, an `dspy.lm15` error such as `ServerError("...")`.
        delay: Seconds before it answers.
        fault: A server fails so instead; a scripted engine has no wire to fail on.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    input_tokens: int | None = 10
    output_tokens: int | None = 5
    cached_tokens: int | None = None
    finish_reason: str | None = None
    error: Exception | None = None
    delay: float = 0.0
    fault: Fault | None = None


Script = Sequence[Reply | str] | Callable[[Request, int], Reply | str]
"""Replies in order, the last one for ever; or a function of the request and its number, from 0."""


class ScriptedEngine:
    """Plays a script as `engine=` and `async_engine=` of a `dspy.LM`, and keeps the requests it got.

    Args:
        native: Whether the model it plays can call functions.
        keep: Whether to keep the requests; not where there are very many.
    """

    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset(("tools", "tool_choice", "parallel_tool_calls", "temperature", "max_tokens"))

    def __init__(self, script: Script, *, native: bool = True, keep: bool = True) -> None:
        self._script = script
        self._keep = keep
        self._asked = 0
        self._lock = threading.Lock()
        self.supports_function_calling = native
        self.requests: list[Request] = []

    def complete(self, request: Request) -> Response:
        reply, number = self._next(request)
        return _respond(request, reply, number)

    def stream(self, request: Request) -> Iterator[Any]:
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        pass

    def _next(self, request: Request) -> tuple[Reply, int]:
        with self._lock:
            number, self._asked = self._asked, self._asked + 1
            if self._keep:
                self.requests.append(request)
        reply = (
            self._script(request, number)
            if callable(self._script)
            else self._script[min(number, len(self._script) - 1)]
        )
        return (Reply(text=reply) if isinstance(reply, str) else reply), number


class _AsyncSide:
    """The same script, awaited."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        reply, number = self._engine._next(request)  # pyright: ignore[reportPrivateUsage]
        if reply.delay:
            await asyncio.sleep(reply.delay)
        return _respond(request, reply, number)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        pass


def scripted_lm(
    script: Script, *, model: str = "scripted/model", native: bool = True, keep: bool = True
) -> tuple[dspy.LM, ScriptedEngine]:
    """A `dspy.LM` that plays `script`, and the engine that keeps what it was asked."""
    engine = ScriptedEngine(script, native=native, keep=keep)
    lm: dspy.LM = dspy.LM(model, engine=engine, async_engine=_AsyncSide(engine), cache=False, num_retries=0)
    return lm, engine


def _respond(request: Request, reply: Reply, number: int) -> Response:
    if reply.error is not None:
        raise reply.error
    parts: list[Any] = [TextPart(reply.text)] if reply.text or not reply.calls else []
    parts.extend(
        ToolCallPart(id=call.id or f"call_{number}_{place}", name=call.name, input=dict(call.arguments))
        for place, call in enumerate(reply.calls)
    )
    finish: Any = reply.finish_reason or ("tool_call" if reply.calls else "stop")
    usage = Usage(
        input_tokens=reply.input_tokens, output_tokens=reply.output_tokens, cache_read_tokens=reply.cached_tokens
    )
    return Response(id=None, model=request.model, message=Message.assistant(parts), finish_reason=finish, usage=usage)
