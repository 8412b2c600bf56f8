"""`corral runs`: what the journal kept."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from corral.apps.assembly import read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.agents import Journal

__all__ = ["find_run", "open_journal", "runs"]


@click.group()
def runs() -> None:
    """List, show and export the runs that the journal kept."""


@runs.command("list")
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True, help="At the most.")
def list_runs(most: int) -> None:
    """List runs, the newest first."""
    with open_journal() as journal:
        for run in journal.runs()[:most]:
            started = datetime.fromtimestamp(run["started"], UTC).strftime("%Y-%m-%d %H:%M:%S")
            reason = run["reason"] or "not finished"
            task = _task(journal, run["run_id"])
            click.echo(printable(f"{run['run_id'][:12]}  {started}  {reason:<12}  {run['model']}  {task}"))


@runs.command()
@click.argument("run")
def show(run: str) -> None:
    """Show what happened in RUN, the start of a run's id."""
    with open_journal() as journal:
        for event in journal.events(find_run(journal, run)):
            if (line := _line(event)) is not None:
                click.echo(printable(line))


@runs.command()
@click.argument("run")
def export(run: str) -> None:
    """Write every event of RUN to stdout, a line of JSON each."""
    with open_journal() as journal:
        for event in journal.events(find_run(journal, run)):
            click.echo(json.dumps(event, ensure_ascii=False))


@contextmanager
def open_journal() -> Generator[Journal]:
    """The journal of the data folder; bad input if there is none yet."""
    from corral.agents import Journal

    settings = read_settings()
    if not settings.journal.exists():
        raise fail(f"there are no runs yet in {settings.home}", Exit.BAD_INPUT)
    with explained(), Journal(settings.journal) as journal:
        yield journal


def find_run(journal: Journal, start: str) -> str:
    """The id of the one run that starts with `start`; bad input if there is none, or several."""
    found = [run["run_id"] for run in journal.runs() if run["run_id"].startswith(start)]
    if len(found) != 1:
        problem = "several runs start" if found else "no run starts"
        raise fail(f"{problem} with {start!r}; `corral runs list` shows them", Exit.BAD_INPUT)
    return found[0]


def _task(journal: Journal, run_id: str) -> str:
    """What the run was asked, on one line."""
    first = next(iter(journal.events(run_id)), dict[str, Any]())
    inputs: dict[str, Any] = first.get("inputs", {})
    return " ".join(" ".join(str(value) for value in inputs.values()).split())[:60]


def _line(event: dict[str, Any]) -> str | None:
    match event["type"]:
        case "RunStarted":
            return f"{event['kind']} with {event['model']}: {json.dumps(event['inputs'], ensure_ascii=False)}"
        case "ToolCalled":
            return f"  > {event['tool']}({json.dumps(event['arguments'], ensure_ascii=False)})"
        case "ToolReturned":
            return f"  < {event['outcome']}: {' '.join(event['content'].split())[:200]}"
        case "CellStarted":
            return f"  > python in {event['sandbox']}:\n" + "\n".join(
                f"      {ln}" for ln in event["code"].splitlines()
            )
        case "CellOutput":
            return "\n".join(f"  < {line}" for line in event["text"].splitlines()) or None
        case "ApprovalGiven":
            return f"  ? {'yes' if event['granted'] else 'no'} from {event['by']} {event['reason']}".rstrip()
        case "RunFinished":
            outputs = json.dumps(event["outputs"], ensure_ascii=False)
            return (
                f"{event['reason']}: {outputs}  ({event['steps']} steps, {event['tool_calls']} calls) {event['detail']}"
            )
        case _:
            return None
