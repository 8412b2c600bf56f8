"""Protocols: how offers are put to a model, and how its answer is read.

Native: function calls, as providers serve them. Text: for models that can't call functions, in the field markers that
DSPy's adapters use (`[[ ## name ## ]]`), which models tuned with DSPy know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from dspy.lm15 import FunctionTool, Message, TextPart, ToolCallPart, ToolChoice, ToolResultPart

from corral.agents.generation import said
from corral.agents.signature import json_in
from corral.agents.written import (
    arguments_in,
    calls_in,
    code_in,
    fields_in,
    marker,
    offered_calls_in,
    without_markers,
)
from corral.tools import Media

__all__ = ["Answer", "ModelProtocol", "NativeProtocol", "Proposal", "TextProtocol", "write_calls"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something the model wants done.

    Attributes:
        arguments: JSON values by name; not checked yet.
        problem: Why the proposal can't even be read, for the model; then `arguments` is empty.
        written: The text of an answer that it was read from, where it should have been a function call.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    problem: str = ""
    written: str = ""

    @property
    def in_text(self) -> bool:
        """Whether it stood in the text of an answer, where it may be a quote just as well."""
        return bool(self.written)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a proposal came to, as the model is told.

    Attributes:
        media: Pictures and sounds that its text tells of.
    """

    proposal: Proposal
    text: str
    is_error: bool = False
    media: tuple[Media, ...] = ()


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
    """Function calls. A call that the model wrote into its text instead is taken as the call that it means.

    Args:
        text_answers: Whether plain text may be a whole answer; then Python is only run where it is the end of it, and
            not twice in a row.
    """

    def __init__(self, *, text_answers: bool = True) -> None:
        self._text_answers = text_answers
        self._offered: Mapping[str, FunctionTool] = {}
        self._ran = ""

    def instructions(self, offers: Sequence[FunctionTool]) -> str:
        self._offered = {offer.name: offer for offer in offers}
        return ""

    def tools(self, offers: Sequence[FunctionTool]) -> tuple[FunctionTool, ...]:
        return tuple(offers)

    def choice(self, offers: Sequence[FunctionTool], only: str | None) -> ToolChoice | None:
        if not offers:
            return None
        return ToolChoice(mode="none") if only is None else ToolChoice(mode="required", allowed=(only,))

    def read(self, message: Message, run_id: str, step: int) -> tuple[str, list[Proposal]]:
        text = said(message)
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        if not calls:
            return self._read_text(text, run_id, step)
        proposals: list[Proposal] = []
        for call in calls:
            proposal = self._read_call(call)
            again = any(proposal == one for one in proposals)
            proposals.append(Proposal(call.id, call.name, {}, _SAID_TWICE) if again else proposal)
        return text, proposals

    def results(self, answers: Sequence[Answer]) -> Message:
        if any(answer.proposal.in_text for answer in answers):
            return TextProtocol().results(answers)  # a result for a call that no server made is an invalid prompt
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

    def _read_text(self, text: str, run_id: str, step: int) -> tuple[str, list[Proposal]]:
        if "python" in self._offered and (found := code_in(text, at_end=self._text_answers)) is not None:
            said, code = found
            if not self._text_answers or code != self._ran:
                self._ran = code
                return said, [Proposal(_id(run_id, step, 0), "python", {"code": code}, written=code)]
        calls = offered_calls_in(text, self._offered)
        read = [
            replace(_read_written(call, run_id, step, number), written=written)
            for number, (written, call) in enumerate(calls)
        ]
        return ("" if read else text), read

    def _read_call(self, call: ToolCallPart) -> Proposal:
        arguments = dict(call.input)
        # lm15 keeps arguments that are no JSON under this one name, and JSON that is no object under the other.
        if set(arguments) == {"partial_json"} and not self._takes(call.name, "partial_json"):
            return Proposal(call.id, call.name, {}, "the arguments are not valid JSON; send one JSON object")
        if set(arguments) == {"value"} and call.name in self._offered and not self._takes(call.name, "value"):
            kind = _KINDS.get(type(arguments["value"]), "null")
            return Proposal(call.id, call.name, {}, f"the arguments are {kind}; send one JSON object, names to values")
        return Proposal(call.id, call.name, arguments)

    def _takes(self, name: str, parameter: str) -> bool:
        offer = self._offered.get(name)
        named: Any = offer.parameters.get("properties", {}) if offer is not None else {}
        return parameter in named


_SAID_TWICE = "not done: this turn has the same call, with the same id, once more"
_KINDS: dict[type, str] = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


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
        whole = said(message)
        fields = fields_in(whole)
        if (written := fields.get("tool_calls")) is not None:
            calls = calls_in(written)
            if calls is None:
                problem = "what follows [[ ## tool_calls ## ]] is not the JSON that was asked for"
                return fields.get("next_thought", ""), [Proposal(_id(run_id, step, 0), "tool_calls", {}, problem)]
            return fields.get("next_thought", ""), [_read_written(c, run_id, step, n) for n, c in enumerate(calls)]
        if "python" in self._offered and (found := code_in(whole)) is not None:
            return found[0], [Proposal(_id(run_id, step, 0), "python", {"code": found[1]})]
        if calls := calls_in(whole):
            return "", [_read_written(call, run_id, step, number) for number, call in enumerate(calls)]
        return without_markers(whole), []

    def results(self, answers: Sequence[Answer]) -> Message:
        blocks = [
            f"{answer.proposal.name} {'failed' if answer.is_error else 'returned'}:\n{answer.text or '(no output)'}"
            for answer in answers
        ]
        return Message.user(marker("tool_results") + "\n" + "\n\n".join(blocks))


def write_calls(thought: str, calls: str) -> str:
    """An answer in the text protocol, with its calls as JSON."""
    return f"{marker('next_thought')}\n{thought}\n\n{marker('tool_calls')}\n{calls}\n\n{marker('completed')}"


def _read_written(call: dict[str, Any], run_id: str, step: int, number: int) -> Proposal:
    given = arguments_in(call)
    if isinstance(given, str):  # as function calls have them on the wire
        given = json_in(given)
    if isinstance(given, dict):
        return Proposal(_id(run_id, step, number), call["name"], cast("dict[str, Any]", given))
    return Proposal(_id(run_id, step, number), call["name"], {}, '"args" must be a JSON object')


def _id(run_id: str, step: int, number: int) -> str:
    return f"call_{run_id[:8]}_{step}_{number}"
