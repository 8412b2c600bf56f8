"""What a failed model call means: whose fault it is, and whether another attempt may help.

OpenAI names an overflow by a code; vLLM, llama.cpp, Ollama, LM Studio, Anthropic and Gemini say it in words only.
"""

from __future__ import annotations

import re

import dspy
from dspy.lm15 import AuthError, ConfigurationError, ContextLengthError

from corral.agents.errors import AgentError, ContextOverflow, DefinitionError, ModelError, ToolsUnsupported

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


def explain_failure(model: str, error: BaseException, *, transient: bool) -> AgentError:
    """The error of ours that a failed attempt comes to."""
    if isinstance(error, _USERS_FAULT):
        return DefinitionError(f"the model {model} can't be used: {' '.join(str(error).split())[:500]}")
    said = one_line(error)
    if isinstance(error, ContextLengthError | dspy.ContextWindowExceededError) or _OVERFLOW.search(said):
        found = _WINDOW.search(said)
        return ContextOverflow(model, said, int(found[1]) if found else None)
    if _NO_TOOLS.search(said):
        return ToolsUnsupported(model, said)
    return ModelError(model, said, transient)


def asked_to_wait(error: BaseException | None) -> float | None:
    """Seconds that the server asked for by Retry-After."""
    seconds: float | None = getattr(error, "retry_after", None)
    return seconds


def one_line(error: BaseException) -> str:
    """What an error says, in at most 500 characters; lm15's advice to programmers is left out."""
    text: str = getattr(error, "message", "") or str(error)
    return " ".join(text.partition("\n\n")[0].split())[:500] or type(error).__name__
