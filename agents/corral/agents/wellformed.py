"""Well-formed messages: half a character, such as a file's name can have, is text in Python, and on no wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from dspy.lm15 import Message, TextPart, ToolCallPart, ToolResultPart

__all__ = ["well_formed"]


def well_formed(message: Message) -> Message:
    """`message` with U+FFFD for each lone surrogate in what was said, called and returned; itself if there is none."""
    parts = tuple(_part(part) for part in message.parts)
    same = all(new is old for new, old in zip(parts, message.parts, strict=True))
    return message if same else replace(message, parts=parts)


def _part(part: Any) -> Any:
    if isinstance(part, TextPart):
        text = _text(part.text)
        return part if text is part.text else replace(part, text=text)
    if isinstance(part, ToolResultPart):
        content: tuple[Any, ...] = tuple(_part(inner) for inner in part.content)
        same = all(new is old for new, old in zip(content, part.content, strict=True))
        return part if same else replace(part, content=content)
    if isinstance(part, ToolCallPart):
        given = cast("dict[str, Any]", part.input)
        return part if _is_well_formed(given) else replace(part, input=_value(given))
    return part


def _is_well_formed(value: Any) -> bool:
    if isinstance(value, str):
        return _text(value) is value
    if isinstance(value, dict):
        return all(_is_well_formed(key) and _is_well_formed(one) for key, one in cast("dict[str, Any]", value).items())
    return not isinstance(value, list) or all(_is_well_formed(one) for one in cast("list[Any]", value))


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(key): _value(one) for key, one in cast("dict[str, Any]", value).items()}
    return [_value(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def _text(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
