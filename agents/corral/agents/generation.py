"""One answer of a model, and how a stored step keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dspy.lm15 import Message, TextPart

from corral.agents.codec import message_from_json, message_to_json
from corral.agents.steps import Codec
from corral.policy import Usage

__all__ = ["GENERATION", "Generation", "said"]

_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)|(?:(?!<think>).)*?</think>[ \t]*\n\s*", re.DOTALL)
"""What some servers leave of a model's reasoning in its answer; templates that begin it for the model leave the end."""


def said(message: Message) -> str:
    """The text of an answer, without what the model said to itself."""
    text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    if "</think>" not in text and not text.lstrip().startswith("<think>"):
        return text
    return text[thought.end() :] if (thought := _THOUGHT.match(text)) is not None else text


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer of a model.

    Attributes:
        finish_reason: lm15's: "stop", "tool_call", "length", "content_filter" ...
        estimated: Whether the server reported no usage and it was estimated from the text.
        model: Who answered, where several might have.
        cached: Whether it came from an `AnswerCache`; then it cost nothing.
        repairs: Answers before it that nobody could read, such as calls without a name.
    """

    message: Message
    usage: Usage
    finish_reason: str
    seconds: float
    estimated: bool = False
    model: str = ""
    cached: bool = False
    repairs: int = 0

    @property
    def text(self) -> str:
        return said(self.message)


def _dump(generation: Generation) -> Any:
    usage = generation.usage
    return {
        "message": message_to_json(generation.message),
        "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd],
        "finish_reason": generation.finish_reason,
        "seconds": generation.seconds,
        "estimated": generation.estimated,
        "model": generation.model,
        "cached": generation.cached,
        "repairs": generation.repairs,
    }


def _load(data: Any) -> Generation:
    return Generation(
        message_from_json(data["message"]),
        Usage(*data["usage"]),
        data["finish_reason"],
        data["seconds"],
        data["estimated"],
        data.get("model", ""),
        data.get("cached", False),
        data.get("repairs", 0),
    )


GENERATION = Codec(_dump, _load)
"""How a stored model step keeps its answer."""
