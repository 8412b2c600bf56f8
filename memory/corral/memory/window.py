"""The short-term window: what of a conversation fits before a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from corral.memory.errors import WindowTooSmall
from corral.memory.summary import summarise
from corral.memory.tokens import TokenCounter, clip, estimate_tokens

__all__ = ["Message", "Window", "fit_window"]

_SUMMARY_SHARE: Final = 0.15
_RESULT_TOKENS: Final = 300
"""What is left of an old tool result when space is short."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as far as the window cares.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        calls: Ids of the tool calls that it makes.
        answers: Id of the tool call whose result it is.
        pinned: Stays whole whatever happens; system messages and the first user message (the goal) do anyway.
        overhead: Tokens beside the text, such as a call's arguments.
    """

    role: str
    text: str
    calls: tuple[str, ...] = ()
    answers: str | None = None
    pinned: bool = False
    overhead: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What fits, in order.

    Attributes:
        messages: Some clipped; the summary, if there is one, stands after what is pinned at the beginning.
        sources: For each of them its index in what was given; None for the summary.
        dropped: How many were left out; the summary speaks for them.
    """

    messages: tuple[Message, ...]
    sources: tuple[int | None, ...]
    tokens: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """Messages that stay or go together: a call with all its results."""

    parts: tuple[tuple[int, Message], ...]
    pinned: bool


def fit_window(messages: Sequence[Message], budget: int, count: TokenCounter = estimate_tokens) -> Window:
    """The messages within `budget` tokens, without a model: a pure function of its arguments.

    What is pinned and the newest unit stay; old tool results are clipped; then the oldest go, and a summary made of
    their own sentences stands for them. A tool call never stays without its results, nor a result without its call:
    a result whose call is not among `messages` is left out.

    Raises:
        WindowTooSmall: What must stay doesn't fit, even with its tool results clipped.
    """
    units = _units(messages)
    if _cost(units, count) > budget:
        units = [_clipped(unit, _RESULT_TOKENS, count) for unit in units[:-1]] + units[-1:]
    if _cost(units, count) <= budget:
        return _window(units, None, len(messages), count)
    fixed = [unit for unit in units[:-1] if unit.pinned]
    reserve = int(budget * _SUMMARY_SHARE)
    room = budget - _cost(fixed, count) - reserve
    newest = _shrunk(units[-1], room, count)
    if _cost([newest], count) > room:
        raise WindowTooSmall(budget, _cost([*fixed, newest], count) + reserve)
    kept = {id(unit) for unit in fixed}
    left = room - _cost([newest], count)
    for unit in reversed([unit for unit in units[:-1] if not unit.pinned]):
        left -= _cost([unit], count)
        if left < 0:
            break
        kept.add(id(unit))
    gone = [unit for unit in units[:-1] if id(unit) not in kept]
    goal = " ".join(message.text for unit in fixed for _, message in unit.parts if message.role == "user")
    text = summarise([(m.role, m.text) for unit in gone for _, m in unit.parts], goal, reserve, count)
    return _window([*(u for u in units[:-1] if id(u) in kept), newest], text, len(messages), count)


def _units(messages: Sequence[Message]) -> list[_Unit]:
    results = {m.answers: (i, m) for i, m in enumerate(messages) if m.answers is not None}
    goal = next((i for i, m in enumerate(messages) if m.role == "user"), -1)
    units: list[_Unit] = []
    for index, message in enumerate(messages):
        if message.answers is not None:
            continue
        answered = tuple(results[call] for call in message.calls if call in results)
        pinned = message.pinned or message.role == "system" or index == goal or any(m.pinned for _, m in answered)
        units.append(_Unit(((index, message), *answered), pinned))
    return units


def _clipped(unit: _Unit, tokens: int, count: TokenCounter) -> _Unit:
    parts = tuple(
        (i, replace(m, text=clip(m.text, tokens, count)) if m.answers is not None and not m.pinned else m)
        for i, m in unit.parts
    )
    return replace(unit, parts=parts)


def _shrunk(unit: _Unit, room: int, count: TokenCounter) -> _Unit:
    """The newest unit, whole if it fits, else with its results clipped to equal shares of what is left."""
    if _cost([unit], count) <= room:
        return unit
    results = sum(m.answers is not None for _, m in unit.parts)
    said = sum(_tokens(m, count) for _, m in unit.parts if m.answers is None)
    share = (room - said) // max(1, results) - 16
    return _clipped(unit, share, count) if share > 0 else unit


def _tokens(message: Message, count: TokenCounter) -> int:
    return count(message.text) + message.overhead


def _cost(units: Sequence[_Unit], count: TokenCounter) -> int:
    return sum(_tokens(message, count) for unit in units for _, message in unit.parts)


def _window(units: Sequence[_Unit], summary: str | None, given: int, count: TokenCounter) -> Window:
    parts: list[tuple[int | None, Message]] = [part for unit in units for part in unit.parts]
    kept = len(parts)
    if summary:
        head = next((i for i, unit in enumerate(units) if not unit.pinned), len(units) - 1)
        place = sum(len(unit.parts) for unit in units[:head])
        parts.insert(place, (None, Message("user", summary)))
    messages = tuple(message for _, message in parts)
    return Window(messages, tuple(i for i, _ in parts), sum(_tokens(m, count) for m in messages), given - kept)
