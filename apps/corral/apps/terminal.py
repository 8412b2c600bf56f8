"""What a person sees: progress on stderr, and text of models and tools without control sequences."""

from __future__ import annotations

import json
import re

import click

from corral.policy import ApprovalAsked, BudgetWarned, CellFinished, CellStarted, Event, ToolCalled, ToolReturned

__all__ = ["Progress", "printable"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with every control character but tab and newline made visible, so that it can't steer a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Progress:
    """A sink that tells a person what a run does, a line for each thing.

    Args:
        quiet: Tell only of what was refused: nobody may be watching, but a log should know.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def emit(self, event: Event) -> None:
        if self._quiet:
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
        case BudgetWarned():
            return f"  limit reached: {event.limit}"
        case _:
            return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."
