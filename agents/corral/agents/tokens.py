"""Guesses at token counts, for what no server has counted yet; they err upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from dspy.lm15 import AudioPart, BinaryPart, DocumentPart, FunctionTool, ImagePart, Message, Request, TextPart

__all__ = ["message_tokens", "prefix_tokens", "request_tokens", "text_tokens"]

_BYTES_A_TOKEN = 3
"""English has about four; code, JSON and other scripts have fewer."""
_TOKENS_A_MESSAGE = 8
_BYTES_A_PICTURE = 1600 * _BYTES_A_TOKEN
"""Servers count about 100 to 1600 tokens for a picture, by its size on the screen, whatever its bytes."""


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    return _bytes(text) // _BYTES_A_TOKEN + 1


def message_tokens(message: Message) -> int:
    """Tokens of one message."""
    return sum(_size(part) for part in message.parts) // _BYTES_A_TOKEN + _TOKENS_A_MESSAGE


def prefix_tokens(system: str, tools: Sequence[FunctionTool]) -> int:
    """Tokens of what stands before the first message."""
    size = _bytes(system) + sum(_bytes(tool.description or "") + _bytes(str(tool.parameters)) + 16 for tool in tools)
    return size // _BYTES_A_TOKEN + _TOKENS_A_MESSAGE


def request_tokens(request: Request) -> int:
    """Tokens of a whole request."""
    system = request.system if isinstance(request.system, str) else ""
    tools = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    return prefix_tokens(system, tools) + sum(message_tokens(message) for message in request.messages)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _size(part: object) -> int:
    if isinstance(part, TextPart):
        return _bytes(part.text)
    content = getattr(part, "content", None)
    if isinstance(content, tuple):
        return 16 + sum(_size(inner) for inner in cast("tuple[object, ...]", content))
    if isinstance(part, ImagePart):
        return _BYTES_A_PICTURE
    if isinstance(part, AudioPart | DocumentPart | BinaryPart):
        return max(_BYTES_A_PICTURE, len(part.data or "") // 10)
    written: Any = getattr(part, "input", part)
    return _bytes(str(written))
