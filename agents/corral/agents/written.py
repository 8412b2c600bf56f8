"""Calls that a model wrote into its text, in the forms that models are known to use."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable
from typing import Any, cast

from corral.agents.signature import json_in

__all__ = [
    "arguments_in",
    "calls_in",
    "code_in",
    "fields_in",
    "is_quoted",
    "marker",
    "offered_calls_in",
    "without_markers",
]

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")
_CODE = re.compile(r"```(?:python|py)[ \t]*\n(.*?)```", re.DOTALL)
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
"""Hermes and Qwen models call so; their server hands it on as text where it was started without a parser for it."""
_ARGUMENTS = ("args", "arguments", "input", "parameters")


def marker(name: str) -> str:
    """The marker that begins a field, as DSPy's adapters write it."""
    return f"[[ ## {name} ## ]]"


def fields_in(text: str) -> dict[str, str]:
    """What stands after each marker."""
    pieces = _FIELD.split(text)
    return {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def without_markers(text: str) -> str:
    return _FIELD.sub("", text).strip()


def code_in(text: str, *, at_end: bool = False) -> tuple[str, str] | None:
    """The first fenced block of Python, after the text before it.

    Args:
        at_end: Only if it is the only one, and nothing follows: text with code in it may be an answer.
    """
    blocks = list(_CODE.finditer(text))
    if not blocks or (at_end and (len(blocks) > 1 or text[blocks[0].end() :].strip())):
        return None
    return text[: blocks[0].start()].strip(), blocks[0][1]


def calls_in(text: str) -> list[dict[str, Any]] | None:
    """The calls in a piece of text that should hold nothing else: objects with a name each."""
    value: Any = json_in(text)
    if value is None and (start := min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)) >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            return None
    return _named(value)


def offered_calls_in(text: str, offered: Container[str]) -> list[tuple[str, dict[str, Any]]]:
    """Calls of what is offered, in text that may as well be an answer: tagged, behind a marker, or all that it is.

    Returns:
        Each with the text that it was read from.
    """
    pieces = _TAGGED.findall(text) or [fields_in(text).get("tool_calls", text)]
    calls: list[tuple[str, dict[str, Any]]] = []
    for piece in pieces:
        found = _named(json_in(piece))
        if found is None or not all(call["name"] in offered and _has_arguments(call) for call in found):
            return []
        calls.extend((piece, call) for call in found)
    return calls


def is_quoted(written: str, texts: Iterable[str]) -> bool:
    """Whether it stands in one of these texts, however it is wrapped there; code that calls nothing does not count."""
    wanted = " ".join(written.split())
    return ("(" in wanted or "{" in wanted) and any(wanted in " ".join(text.split()) for text in texts)


def arguments_in(call: dict[str, Any]) -> Any:
    """What a written call passes, by whichever of its usual names."""
    return next((call[key] for key in _ARGUMENTS if key in call), dict[str, Any]())


def _has_arguments(call: dict[str, Any]) -> bool:
    return any(key in call for key in _ARGUMENTS)


def _named(value: Any) -> list[dict[str, Any]] | None:
    if isinstance(value, dict):
        whole = cast("dict[str, Any]", value)
        value = whole.get("tool_calls", [whole])
    if not isinstance(value, list):
        return None
    calls = [cast("dict[str, Any]", call) for call in cast("list[Any]", value) if isinstance(call, dict)]
    return calls if calls and all(isinstance(call.get("name"), str) and call["name"] for call in calls) else None
