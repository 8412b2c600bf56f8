"""Delegation: an agent as a tool of another one, which waits for its answer or lets it answer in its place."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from dspy.lm15 import Message

from corral.agents.caller import CALLER
from corral.agents.errors import DefinitionError
from corral.agents.media import as_json
from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.signature import as_text
from corral.agents.start import Start
from corral.tools import Effect, Observation, Tool

__all__ = ["HandOff", "delegate", "hand_off"]

_NO_NAME = "main"
_LONGEST = 600.0
"""Seconds that a delegated run may take where its own limits name none."""
_NOTE = {
    "type": "object",
    "properties": {"note": {"type": "string", "description": "What it should know beside the task."}},
    "additionalProperties": False,
}


class HandOff(Tool):
    """A tool whose answer is the answer of the run that calls it: its model is not asked again."""


def delegate(member: Member, *, description: str | None = None, timeout: float | None = None) -> Tool:
    """`member` as a tool of other agents; it takes the inputs of its signature and returns its outputs.

    What it does there it does for the agent that calls it: it spends from its budget, has at most its rights and its
    mode, is the same user's, asks the same person, is kept in the same journal, and tells the same sinks. Its answer is
    labelled with all that it has read.

    Args:
        description: For the model that may call it; by default the member's own instructions.
        timeout: Seconds; by default its own limit, or 600.

    Raises:
        DefinitionError: It has no name of its own.
    """

    async def run(arguments: dict[str, Any]) -> Observation:
        return _observation(member, await member.start(None, arguments, Start()))

    return _tool(Tool, member, run, member.signature.inputs_schema, description, timeout)


def hand_off(member: Member, *, description: str | None = None, timeout: float | None = None) -> HandOff:
    """A tool by which an agent's model hands its task over to `member`, whose answer ends the run if it fits.

    `member` gets the task as it was given, from the inputs that both have, and a note. Called by code in a cell, it is
    only delegated to.

    Raises:
        DefinitionError: It has no name of its own.
    """

    async def run(arguments: dict[str, Any]) -> Observation:
        caller = CALLER.get()
        if caller is None:
            raise RuntimeError("only an agent's run can be handed over")
        given = caller.inputs
        if missing := [name for name in member.signature.inputs if name not in given]:
            return Observation(f"{member.name} takes {', '.join(missing)}, which this task has not", is_error=True)
        start = Start()
        if note := str(arguments.get("note") or ""):
            start.messages.append(Message.user(f"{caller.name} hands you its task, and notes: {note}"))
        inputs = {name: given[name] for name in member.signature.inputs}
        return _observation(member, await member.start(None, inputs, start))

    told = f"Hand the whole task over, and end: {description or member.description}"
    return _tool(HandOff, member, run, _NOTE, told, timeout)


def _tool(
    kind: type[Any], member: Member, run: Any, schema: dict[str, Any], description: str | None, timeout: float | None
) -> Any:
    if member.name == _NO_NAME:
        raise DefinitionError("an agent that others delegate to needs a name of its own: name='researcher'")
    seconds = float("inf") if member.limits.seconds is not None else _LONGEST
    signature = member.signature
    return kind(
        re.sub(r"^(?=[0-9])|[^A-Za-z0-9_-]", "_", member.name)[:64],
        f"agent:{member.name}",
        run,
        description=description or member.description,
        input_schema=schema,
        output_schema=None if signature.text_output else signature.schema,
        effect=Effect.IDEMPOTENT,  # called again, it goes on where it was
        timeout=seconds if timeout is None else timeout,
    )


def _observation(member: Member, result: Result) -> Observation:
    """A delegated run as its caller's model sees it."""
    label = replace(result.label, sources=result.label.sources | {f"agent:{member.name}"})
    remarks = [f"(nobody knows whether this happened: {', '.join(result.unknown)})"] if result.unknown else []
    if result.outputs is None:
        why = f": {result.detail}" if result.detail else ""
        text = f"{member.name} came to no answer ({result.reason.value}{why})"
        return Observation("\n".join([text, *remarks]), is_error=True, label=label)
    if not result.ok:
        remarks.append(f"({member.name} was ended by its limit on {result.reason.value})")
    outputs = as_json(result.outputs)
    name = member.signature.text_output
    text = as_text(outputs if name is None else outputs[name])
    return Observation("\n".join([text, *remarks]), None if name else outputs, label=label)
