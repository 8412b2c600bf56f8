"""Protocols: how offers are put to a model, and how its answer is read.

Native: function calls, as providers serve them. Text: for models that can't call functions, in the field markers that
DSPy's adapters use (`[[ ## name ## ]]`), which models tuned with DSPy know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from dspy.lm15 import FunctionTool, Message, TextPart, ToolCallPart, ToolChoice, ToolResultPart

from corral.agents.signature import json_in

__all__ = ["Answer", "ModelProtocol", "NativeProtocol", "Proposal", "TextProtocol", "write_calls"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something the model wants done.

    Attributes:
        arguments: JSON values by name; not checked yet.
        problem: Why the proposal can't even be read, for the model; then `arguments` is empty.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a proposal came to, as the model is told."""

    proposal: Proposal
    text: str
    is_error: bool = False


class ModelProtocol(Protocol):
    """One way to talk with a model about what it may do."""

    def instructions(self, offers: Sequence[FunctionTool]) -> str:
        """What the system prompt must say about the offers; empty when the request carries them."""
        ...

    def tools(self, offers: Sequence[FunctionTool]) -> tuple[FunctionTool, ...]:
        """What goes into the request's own tool list."""
        ...

    def choice(self, offers: Sequence[FunctionTool], only: str | None) -> ToolChoice | None:
        """The request's tool choice when only `only` may be called, or nothing at all."""
        ...

    def read(self, message: Message, run_id: str, step: int) -> tuple[str, list[Proposal]]:
        """The text of an answer, and what it proposes."""
        ...

    def results(self, answers: Sequence[Answer]) -> Message:
        """The message that tells the model what its proposals came to."""
        ...


class NativeProtocol:
    """Function calls."""

    def instructions(self, offers: Sequence[FunctionTool]) -> str:
        return ""

    def tools(self, offers: Sequence[FunctionTool]) -> tuple[FunctionTool, ...]:
        return tuple(offers)

    def choice(self, offers: Sequence[FunctionTool], only: str | None) -> ToolChoice | None:
        if not offers:
            return None
        return ToolChoice(mode="none") if only is None else ToolChoice(mode="required", allowed=(only,))

    def read(self, message: Message, run_id: str, step: int) -> tuple[str, list[Proposal]]:
        text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        return text, [_read_call(call) for call in calls]

    def results(self, answers: Sequence[Answer]) -> Message:
        return Message(
            role="tool",
            parts=tuple(
                ToolResultPart(
                    id=answer.proposal.id,
                    name=answer.proposal.name,
                    content=(TextPart(answer.text or "(no output)"),),
                    is_error=answer.is_error,
                )
                for answer in answers
            ),
        )


def _read_call(call: ToolCallPart) -> Proposal:
    arguments = dict(call.input)
    # lm15 keeps arguments that are no JSON under this one name.
    if set(arguments) == {"partial_json"}:
        return Proposal(call.id, call.name, {}, "the arguments are not valid JSON; send one JSON object")
    return Proposal(call.id, call.name, arguments)


_MARKER = "[[ ## {} ## ]]"
_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")
_CODE = re.compile(r"```(?:python|py)\s*\n(.*?)```", re.DOTALL)


class TextProtocol:
    """Field markers in plain text; a fenced Python block counts as a call of `python` where that is offered."""

    def __init__(self) -> None:
        self._offered: frozenset[str] = frozenset()

    def instructions(self, offers: Sequence[FunctionTool]) -> str:
        self._offered = frozenset(offer.name for offer in offers)
        lines = [
            json.dumps({"name": o.name, "description": o.description or "", "args": o.parameters}, ensure_ascii=False)
            for o in offers
        ]
        return "\n".join(
            (
                "To act, answer in exactly this form, with one or more calls:",
                "",
                write_calls(
                    "what you think", '{"tool_calls": [{"name": "a tool\'s name", "args": {"parameter": "value"}}]}'
                ),
                "",
                "Then stop: the results come in the next message. The tools, with JSON Schemas of their args:",
                *lines,
            )
        )

    def tools(self, offers: Sequence[FunctionTool]) -> tuple[FunctionTool, ...]:
        return ()

    def choice(self, offers: Sequence[FunctionTool], only: str | None) -> ToolChoice | None:
        return None

    def read(self, message: Message, run_id: str, step: int) -> tuple[str, list[Proposal]]:
        whole = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        fields = _fields(whole)
        if (written := fields.get("tool_calls")) is not None:
            calls = _calls_in(written)
            if calls is None:
                problem = "what follows [[ ## tool_calls ## ]] is not the JSON that was asked for"
                return fields.get("next_thought", ""), [Proposal(_id(run_id, step, 0), "tool_calls", {}, problem)]
            return fields.get("next_thought", ""), [_read_written(c, run_id, step, n) for n, c in enumerate(calls)]
        if "python" in self._offered and (code := _CODE.search(whole)):
            return whole[: code.start()].strip(), [Proposal(_id(run_id, step, 0), "python", {"code": code[1]})]
        if calls := _calls_in(whole):
            return "", [_read_written(call, run_id, step, number) for number, call in enumerate(calls)]
        return _FIELD.sub("", whole).strip(), []

    def results(self, answers: Sequence[Answer]) -> Message:
        blocks = [
            f"{answer.proposal.name} {'failed' if answer.is_error else 'returned'}:\n{answer.text or '(no output)'}"
            for answer in answers
        ]
        return Message.user(_MARKER.format("tool_results") + "\n" + "\n\n".join(blocks))


def write_calls(thought: str, calls: str) -> str:
    """An answer in the text protocol, with its calls as JSON."""
    marked = (_MARKER.format(name) for name in ("next_thought", "tool_calls", "completed"))
    return f"{next(marked)}\n{thought}\n\n{next(marked)}\n{calls}\n\n{next(marked)}"


def _fields(text: str) -> dict[str, str]:
    pieces = _FIELD.split(text)
    return {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def _calls_in(text: str) -> list[dict[str, Any]] | None:
    value: Any = json_in(text)
    if value is None and (start := min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)) >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            return None
    if isinstance(value, dict):
        whole = cast("dict[str, Any]", value)
        value = whole.get("tool_calls", [whole])
    if not isinstance(value, list):
        return None
    calls = [cast("dict[str, Any]", call) for call in cast("list[Any]", value) if isinstance(call, dict)]
    return calls if calls and all(isinstance(call.get("name"), str) and call["name"] for call in calls) else None


def _read_written(call: dict[str, Any], run_id: str, step: int, number: int) -> Proposal:
    given: Any = next((call[key] for key in ("args", "arguments", "input") if key in call), dict[str, Any]())
    if isinstance(given, dict):
        return Proposal(_id(run_id, step, number), call["name"], cast("dict[str, Any]", given))
    return Proposal(_id(run_id, step, number), call["name"], {}, '"args" must be a JSON object')


def _id(run_id: str, step: int, number: int) -> str:
    return f"call_{run_id[:8]}_{step}_{number}"
