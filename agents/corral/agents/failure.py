"""What a failed model call means: whose fault it is, and whether another attempt may help.

OpenAI names an overflow by a code; vLLM, llama.cpp, Ollama, LM Studio, Anthropic and Gemini say it in words only.
"""

from __future__ import annotations

import re
from typing import Any

import dspy
from dspy.lm15 import AuthError, ConfigurationError, ContextLengthError

from corral.agents.errors import (
    AgentError,
    CallsUnreadable,
    ContextOverflow,
    DefinitionError,
    ModelError,
    ToolsUnsupported,
)

__all__ = ["asked_to_wait", "explain_failure", "one_line"]

_USERS_FAULT = (AuthError, ConfigurationError, dspy.LMAuthError, dspy.LMConfigurationError)
"""No key, a wrong one, a provider that nobody knows."""

_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|maximum model length|context length of only"
    r"|available context size|context size has been exceeded|context (?:window|length) exceed|exceeds? (?:the |its )?"
    r"(?:maximum )?context|prompt is too long|input token count .{0,40}exceeds|too many tokens",
    re.IGNORECASE,
)
_WINDOW = re.compile(
    r"(?:maximum context length (?:is|of)|maximum model length of|context length of only|context size \(|n_ctx\D{1,4}"
    r"|maximum number of tokens allowed \(|tokens >|context window of)\s*(\d{3,8})",
    re.IGNORECASE,
)
_NO_TOOLS = re.compile(
    r"not support (?:tools|tool|function|functions)\b|tools? (?:calls? |calling )?(?:is|are) not supported"
    r"|enable-auto-tool-choice|tool-call-parser|tools param requires --jinja|does not support function calling",
    re.IGNORECASE,
)


_NO_KEY = re.compile(r"no API key found for provider .*?Set (\S+) in the environment")
_PAGE = re.compile(r"<!doctype html|<html", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)[^>]*>([^<]{1,80})</\1>", re.IGNORECASE)


def explain_failure(model: str, error: BaseException, *, transient: bool, endpoint: str = "") -> AgentError:
    """The error of ours that a failed attempt comes to.

    Args:
        endpoint: Who was asked: an address, or a provider.
    """
    said = one_line(error)
    status: Any = getattr(error, "status", None)
    if status is not None and status >= 400 and endpoint:
        said = f"{endpoint} said HTTP {status}: {said}"
    if isinstance(error, _USERS_FAULT):
        return DefinitionError(f"the model {model} can't be used: {_without_internals(said, status)}")
    if isinstance(error, ContextLengthError | dspy.ContextWindowExceededError) or _OVERFLOW.search(said):
        found = _WINDOW.search(said)
        return ContextOverflow(model, said, int(found[1]) if found else None)
    if _NO_TOOLS.search(said):
        return ToolsUnsupported(model, said)
    if "tool call with no name" in said:  # lm15's words; a test pins them
        return CallsUnreadable(model, said, transient)
    return ModelError(model, said, transient)


def asked_to_wait(error: BaseException | None) -> float | None:
    """Seconds that the server asked for by Retry-After."""
    seconds: float | None = getattr(error, "retry_after", None)
    return seconds


def one_line(error: BaseException) -> str:
    """What an error says, in at most 500 characters; lm15's advice to programmers is left out."""
    text: str = getattr(error, "message", "") or str(error)
    text = " ".join(text.partition("\n\n")[0].split())
    if (page := _PAGE.search(text)) is not None:
        # A proxy or gateway spoke instead of the model's server, to people and at length.
        title = _TITLE.search(text)
        before = text[: page.start()].rstrip(" '\"")
        text = f"{before} a page of HTML{f' ({title[2].strip()!r})' if title else ''}".strip()
    return text[:500] or type(error).__name__


def _without_internals(said: str, status: int | None) -> str:
    """What the user can do, in our words: lm15 speaks of its own configuration."""
    if (key := _NO_KEY.search(said)) is not None:
        return f"no key is set; set {key[1].rstrip(',')} (or ModelSpec(api_key=...) in code)"
    return f"{said}; see that its key is right and may use this model" if status in (401, 403) else said
