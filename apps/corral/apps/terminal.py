"""What a person sees: progress on stderr, and text of models and tools without control sequences."""

from __future__ import annotations

import json
import re

import click

from corral.policy import (
    ApprovalAsked,
    BudgetWarned,
    CellFinished,
    CellStarted,
    Consolidated,
    ConsolidationStarted,
    Event,
    Intervened,
    Planned,
    ResumeWarned,
    ToolCalled,
    ToolReturned,
)

__all__ = ["Progress", "consolidated_line", "planned_lines", "printable"]

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls of C0 and C1 but tab and newline, marks that turn the direction of text or are not seen, lone surrogates."""


def printable(text: str) -> str:
    """`text` with all that could steer a terminal, or hide what is there, written out: "\\x1b", "\\u202e"."""
    return _CONTROL.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Progress:
    """A sink that tells a person what a run does, a line for each thing.

    Args:
        quiet: Tell only of what was refused: nobody may be watching, but a log should know.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def emit(self, event: Event) -> None:
        if isinstance(event, Consolidated):  # also where nobody may be watching: it costs, and nobody called it
            click.secho(printable(f"corral: {consolidated_line(event)}"), err=True, dim=not self._quiet)
        elif isinstance(event, Planned):
            line, problem = planned_lines(event)
            if not self._quiet:
                click.secho(printable(f"  {line}"), err=True, dim=True)
            if problem:
                click.echo(printable(f"corral: {problem}"), err=True)
        elif self._quiet:
            if isinstance(event, ToolReturned) and event.outcome == "denied":
                click.echo(printable(f"corral: {' '.join(event.content.split())}"), err=True)
        elif (line := _line(event)) is not None:
            click.secho(printable(line), err=True, dim=True)


def _line(event: Event) -> str | None:
    match event:
        case ToolCalled():
            inside = "    " if event.cell else "  "
            return f"{inside}{event.tool}({_short(json.dumps(dict(event.arguments), ensure_ascii=False, default=str))})"
        case ToolReturned():
            inside = "    " if event.cell else "  "
            return f"{inside}{'->' if event.outcome == 'ok' else 'x '} {_short(event.content)}"
        case CellStarted():
            return f"  python in {event.sandbox}: {_short(event.code)}"
        case CellFinished():
            return f"  -> {event.error or 'ok'} after {event.seconds:.2f} s"
        case ApprovalAsked():
            return f"  asks: {event.verb} {event.resource}"
        case Intervened():
            return f"  {event.by}, {event.point}: {event.outcome} {event.reason}".rstrip()
        case ResumeWarned():
            return f"  the agent is not as it was: {'; '.join(event.changes)}"
        case BudgetWarned():
            return f"  limit reached: {event.limit}"
        case ConsolidationStarted():
            return f"  memory: looking for facts in {event.turns} turns; Ctrl-C stops it, a later run goes on"
        case _:
            return None


def planned_lines(event: Planned) -> tuple[str, str]:
    """The plan of a run's tools, and what a person should know about it."""
    tools = ", ".join(event.tools) or "no tool with effects"
    why = event.problem
    if event.undescribed:
        named = ", ".join(event.undescribed)
        said = f"no plan can have {named}: describe them in the policy's provenance.manifests, or trust their server"
        why = f"{why}; {said}" if why else said
    return f"plan: {tools}", why


def consolidated_line(event: Consolidated) -> str:
    """What a consolidation came to, and what it has cost."""
    facts, turns, calls = (
        f"{number} {what}{'' if number == 1 else 's'}"
        for number, what in ((event.facts, "fact"), (event.turns, "turn"), (event.model_calls, "model call"))
    )
    cost = "" if event.usage.cost_usd is None else f", ${event.usage.cost_usd:.4f}"
    why = f"; not all: {event.detail}" if event.detail else ""
    return f"memory: {facts} drawn from {turns}, {calls}, {event.usage.tokens} tokens{cost}{why}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."
