"""`corral runs`: what the journal kept, to look at, to go on with, and to throw away."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corral.apps.assembly import agent_options, read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.inwords import in_words
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.agents import Agent, Journal
    from corral.apps.scripted import Outcome

__all__ = ["find_run", "open_journal", "runs"]

_DAY = 86400.0


@click.group()
def runs() -> None:
    """List, show, export, resume, fork, rewind and prune the runs that the journal kept.

    RUN is a run's id, or the start of one. Exit status: 0 done, 1 error, 2 bad input; `resume` as `corral run`.
    """


@runs.command("list")
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True, help="At the most.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each.")
def list_runs(most: int, as_json: bool) -> None:
    """List runs, the newest first."""
    with open_journal() as journal:
        for run in journal.runs()[:most]:
            task = _task(journal, run)
            if as_json:
                shown = (
                    "run_id",
                    "agent",
                    "kind",
                    "model",
                    "session_id",
                    "started",
                    "finished",
                    "reason",
                    "parent_run_id",
                )
                click.echo(json.dumps({**{name: run[name] for name in shown}, "task": task}, ensure_ascii=False))
                continue
            started = datetime.fromtimestamp(run["started"], UTC).strftime("%Y-%m-%d %H:%M:%S")
            reason = run["reason"] or "not finished"
            of = f"  [{run['agent']}, of {run['parent_run_id'][:12]}]" if run["parent_run_id"] else ""
            click.echo(printable(f"{run['run_id'][:12]}  {started}  {reason:<12}  {run['model']}  {task[:60]}{of}"))


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Every event as a line of JSON, as `export`.")
def show(run: str, as_json: bool) -> None:
    """Show what happened in RUN."""
    with open_journal() as journal:
        for event in journal.events(find_run(journal, run)):
            line = json.dumps(event, ensure_ascii=False) if as_json else _line(event)
            if line is not None:
                click.echo(line if as_json else printable(line))


@runs.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="Every run of the journal.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of stdout.")
def export(runs: tuple[str, ...], everything: bool, output: Path | None) -> None:
    """Write the events of RUN, a line of JSON each; several runs each begin with a line of type "Run"."""
    if everything == bool(runs):
        raise click.UsageError("name runs, or give --all")
    with open_journal() as journal, ExitStack() as stack:
        ids = None if everything else [find_run(journal, run) for run in runs]
        file = sys.stdout if output is None else stack.enter_context(output.open("w", encoding="utf-8"))
        if ids is not None and len(ids) == 1:
            file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in journal.events(ids[0]))
        else:
            journal.export(file, ids)


@runs.command()
@click.argument("run")
@agent_options
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--agent", "agent_file", type=click.Path(path_type=Path), help="An agent file, YAML, TOML or Markdown.")
@click.option("--json-schema", type=click.Path(path_type=Path), help="The answer is JSON that fits this schema.")
@click.option("--memory/--no-memory", default=False, show_default=True, help="Recall before, remember after.")
@click.option("--output-format", type=click.Choice(["text", "json", "stream-json"]), default="text", show_default=True)
@click.pass_context
def resume(ctx: click.Context, run: str, **options: Any) -> None:
    """Go on with RUN, which was killed, interrupted or stopped by a limit, where it stopped.

    Give the flags that it was started with; policy, limits and model may be others. What it has recorded is not asked,
    called or approved again; calls that must not be repeated and were cut off are told to the model as unknown.
    """
    from corral.apps.report import print_outcome, status_of
    from corral.apps.run import perform
    from corral.apps.work import work_of

    with open_journal() as journal:
        run_id = find_run(journal, run)
        with explained():
            options["model"] = options["model"] or read_settings().model or journal.record(run_id).model
    options |= {"task_file": None, "inputs": ()}
    with explained(), ExitStack() as stack:
        outcome = perform(_Resumed(run_id), work_of(ctx, options), options, stack)
        print_outcome(outcome, options["output_format"])
    ctx.exit(status_of(outcome))


@runs.command()
@click.argument("run")
@click.argument("step", type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="The new run's id in a JSON object.")
def fork(run: str, step: int, as_json: bool) -> None:
    """Copy RUN up to the end of its STEP, and print the copy's id, for `resume`; 0 is before the first step.

    What the later steps did to the world stays done.
    """
    with open_journal() as journal:
        run_id = find_run(journal, run)
        _check_step(journal, run_id, step)
        copy = journal.fork(run_id, step)
    click.echo(json.dumps({"run_id": copy, "of": run_id, "step": step}) if as_json else copy)


@runs.command()
@click.argument("run")
@click.argument("step", type=click.IntRange(min=0))
def rewind(run: str, step: int) -> None:
    """Forget what RUN did after its STEP, so that `resume` does it anew; what it did to the world stays done."""
    with open_journal() as journal:
        run_id = find_run(journal, run)
        _check_step(journal, run_id, step)
        journal.rewind(run_id, step)
    click.echo(f"{run_id[:12]} ends after step {step}; go on with `corral runs resume {run_id[:12]}`", err=True)


@runs.command()
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", required=True, help="Days since they ended."
)
@click.option(
    "--keep", type=click.IntRange(min=0), default=0, show_default=True, help="The newest, whatever their age."
)
@click.option("--json", "as_json", is_flag=True, help="The number in a JSON object.")
def prune(older_than: float, keep: int, as_json: bool) -> None:
    """Delete finished runs that are old, but none that a kept one goes on from; unfinished ones stay."""
    with open_journal() as journal:
        gone = journal.prune(older_than * _DAY, keep=keep)
    click.echo(json.dumps({"deleted": gone}) if as_json else f"deleted {gone} runs")


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


class _Resumed:
    """A run that goes on, as something that an agent can be given."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    async def run(self, agent: Agent, inputs: Mapping[str, Any]) -> Outcome:
        from corral.apps.scripted import outcome_of

        result = await agent.resume(self._run_id)
        return outcome_of((result,), result.outputs)

    def agent(self, folder: Path) -> None:
        """Flags say what it is made of."""


def _check_step(journal: Journal, run_id: str, step: int) -> None:
    steps = max((event["step"] for event in journal.events(run_id) if event["type"] == "StepStarted"), default=0)
    if step > steps:
        raise fail(f"the run {run_id[:12]} has {steps} steps, and no step {step}", Exit.BAD_INPUT)


def _task(journal: Journal, run: Mapping[str, Any]) -> str:
    """What the run was asked, on one line."""
    inputs: dict[str, Any]
    if run["opening"] is not None:
        inputs = json.loads(run["opening"])["inputs"]
    else:
        inputs = next(iter(journal.events(run["run_id"])), dict[str, Any]()).get("inputs", {})
    return in_words(inputs)


def _repairs(event: dict[str, Any]) -> str:
    count = event.get("repairs")
    return f", {count} repairs" if count else ""


def _line(event: dict[str, Any]) -> str | None:
    match event["type"]:
        case "RunStarted":
            return f"{event['kind']} with {event['model']}: {in_words(event['inputs'])}"
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
        case "SourceFailed":
            return f"  ! without {event['source']}: {event['problem']}"
        case "ResumeWarned":
            return f"  ! the agent is not as it was: {'; '.join(event['changes'])}"
        case "Intervened":
            return f"  ! {event['by']}, {event['point']}: {event['outcome']} {event['reason']}".rstrip()
        case "RunFinished":
            outputs = json.dumps(event["outputs"], ensure_ascii=False)
            counts = f"{event['steps']} steps, {event['tool_calls']} calls{_repairs(event)}"
            return f"{event['reason']}: {outputs}  ({counts}) {event['detail']}"
        case _:
            return None
