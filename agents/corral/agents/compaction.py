"""Old steps as a summary: a conversation that has to fit a model's context window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dspy.lm15 import Message, TextPart, ToolCallPart, ToolResultPart

from corral.agents.tokens import message_tokens, text_tokens
from corral.memory import Message as Shown
from corral.memory import WindowTooSmall, fit_window

__all__ = ["WindowTooSmall", "compact"]


@dataclass(frozen=True)
class _Source:
    """Where something in the window came from: a message, or one of the results in it."""

    message: int
    part: int | None = None


def compact(messages: Sequence[Message], task: int, budget: int) -> list[Message]:
    """`messages` within about `budget` tokens: the first task and the one at `task` stay, and the newest step.

    Old tool results are shortened first, then the oldest steps become a summary in their own sentences. Which is made
    without a model: it costs nothing, and comes out the same when a run is resumed.

    Raises:
        WindowTooSmall: What must stay doesn't fit.
    """
    shown, sources = _shown(messages, task)
    window = fit_window(shown, budget, text_tokens)
    kept: list[Message] = []
    last: int | None = None
    for part, index in zip(window.messages, window.sources, strict=True):
        source = None if index is None else sources[index]
        if source is None:
            kept.append(Message.user(part.text))
        elif source.part is None:
            kept.append(messages[source.message])
        else:
            result = _result(messages[source.message], source.part, part.text)
            if last == source.message:
                kept[-1] = replace(kept[-1], parts=(*kept[-1].parts, result))
            else:
                kept.append(replace(messages[source.message], parts=(result,)))
        last = source.message if source is not None and source.part is not None else None
    return kept


def _shown(messages: Sequence[Message], task: int) -> tuple[list[Shown], list[_Source]]:
    shown: list[Shown] = []
    sources: list[_Source] = []
    # Servers may use one id for several calls; within the window each call has a number of its own.
    open_calls: dict[str, str] = {}
    for number, message in enumerate(messages):
        if message.role == "tool":
            for place, part in enumerate(message.parts):
                if isinstance(part, ToolResultPart):
                    call = open_calls.get(part.id, "")
                    shown.append(Shown("tool", _text(part), answers=call, overhead=16))
                    sources.append(_Source(number, place))
            continue
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        names = tuple(f"{number}/{place}" for place in range(len(calls)))
        open_calls.update(zip((call.id for call in calls), names, strict=True))
        text = message.text or ""
        overhead = max(0, message_tokens(message) - text_tokens(text))
        said = text or " ".join(f"{call.name}({json.dumps(call.input, default=str)[:200]})" for call in calls)
        extra = max(0, overhead - (text_tokens(said) if not text else 0))
        shown.append(Shown(message.role, said, calls=names, pinned=number == task, overhead=extra))
        sources.append(_Source(number))
    return shown, sources


def _text(part: ToolResultPart) -> str:
    return "".join(piece.text for piece in part.content if isinstance(piece, TextPart))


def _result(message: Message, place: int, text: str) -> Any:
    part: Any = message.parts[place]
    return part if _text(part) == text else replace(part, content=(TextPart(text or "(left out)"),))
