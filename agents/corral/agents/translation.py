"""A conversation that began with function calls, as the text protocol would have led it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from dspy.lm15 import Message, TextPart, ToolCallPart, ToolResultPart

from corral.agents.protocol import Answer, Proposal, TextProtocol, write_calls

__all__ = ["texts_of", "to_text"]


def to_text(messages: Sequence[Message]) -> list[Message]:
    """Each message without function calls, in the same order."""
    return [_as_text(message) for message in messages]


def texts_of(message: Message) -> Iterator[str]:
    """The texts in a message, those of results too."""
    for part in message.parts:
        pieces = part.content if isinstance(part, ToolResultPart) else (part,)
        yield from (piece.text for piece in pieces if isinstance(piece, TextPart))


def _as_text(message: Message) -> Message:
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    if results:
        return TextProtocol().results([_answer(result) for result in results])
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if not calls:
        return message
    written = json.dumps({"tool_calls": [{"name": call.name, "args": call.input} for call in calls]}, default=str)
    return Message.assistant(write_calls(message.text or "", written))


def _answer(result: ToolResultPart) -> Answer:
    text = "".join(piece.text for piece in result.content if isinstance(piece, TextPart))
    return Answer(Proposal(result.id, result.name or "tool", {}), text, result.is_error or False)
