"""`corral batch`: many tasks from a file, a result for each, and on again where it was interrupted."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import click

from corral.apps.assembly import (
    LOCK,
    NO_MODEL,
    agent_options,
    choose_sandbox,
    make_agent,
    make_toolbox,
    model_of,
    read_policy,
    read_settings,
    written_consent,
)
from corral.apps.failures import Exit, explained, fail

if TYPE_CHECKING:
    from corral.agents import Agent, ModelSpec, Result
    from corral.apps.settings import Settings

__all__ = ["batch"]


@click.command()
@click.argument("tasks", type=click.Path(path_type=Path))
@agent_options
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--results", type=click.Path(path_type=Path), help="Where results go; by default TASKS.results.jsonl.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Tasks at a time.")
@click.option("--retries", type=click.IntRange(0, 10), default=1, show_default=True, help="Of a task that failed.")
@click.pass_context
def batch(ctx: click.Context, tasks: Path, **options: Any) -> None:
    """Run every task of TASKS, a JSON object a line: {"id": ..., "task": ...}, or the signature's inputs by name.

    Results are appended as tasks end. Started again, tasks that have a good result are left out; so an interrupted
    batch goes on, and failed tasks are tried anew. The exit status is 1 if some task failed.

    \b
    corral batch questions.jsonl --model openai/gpt-4o-mini --concurrency 16
    """
    with explained(), ExitStack() as stack:
        settings = read_settings()
        model = model_of(settings, options)
        if model is None:
            click.echo(NO_MODEL, err=True)
            raise click.exceptions.Exit(Exit.BAD_INPUT)
        todo = _read_tasks(tasks)
        results = options["results"] or tasks.with_name(f"{tasks.name}.results.jsonl")
        done = _read_done(results)
        ledger = _Ledger(results, total=len(todo), left_out=sum(task.id in done for task in todo))
        todo = [task for task in todo if task.id not in done]
        anyio.run(_run_all, todo, ledger, settings, model, options, stack)
    ledger.report()
    ctx.exit(Exit.ERROR if ledger.failures else Exit.DONE)


@dataclass(frozen=True)
class _Task:
    id: str
    inputs: dict[str, Any]


@dataclass
class _Ledger:
    """Writes results, and counts them.

    Attributes:
        left_out: Tasks that had a good result from before.
    """

    path: Path
    total: int
    left_out: int
    reasons: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    tokens: int = 0

    def add(self, task: _Task, result: Result) -> None:
        from pydantic_core import to_jsonable_python

        line = {
            "id": task.id,
            "ok": result.ok,
            "reason": result.reason.value,
            "outputs": to_jsonable_python(result.outputs, fallback=str),
            "detail": result.detail,
            "run_id": result.run_id,
            "steps": result.steps,
            "tool_calls": result.tool_calls,
            "tokens": result.usage.tokens,
            "cost_usd": result.usage.cost_usd,
            "seconds": round(result.seconds, 3),
        }
        self.tokens += result.usage.tokens
        self._write(line)

    def refuse(self, task: _Task, problem: str) -> None:
        """A task that could not be run at all."""
        self._write({"id": task.id, "ok": False, "reason": "error", "outputs": None, "detail": problem})

    def _write(self, line: dict[str, Any]) -> None:
        # One write a line: what is on disk is whole lines, save perhaps the last.
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.reasons[line["reason"]] += 1
        if not line["ok"]:
            self.failures.append(f"{line['id']}: {line['reason']} {line['detail']}".rstrip())
        if sys.stderr.isatty():
            click.echo(f"\r{self.left_out + self.reasons.total()}/{self.total}", err=True, nl=False)

    def report(self) -> None:
        if sys.stderr.isatty():
            click.echo(err=True)
        counts = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        before = f", {self.left_out} had a result already" if self.left_out else ""
        click.echo(f"{self.total} tasks: {counts or 'none run'}{before}; {self.tokens} tokens; {self.path}", err=True)
        for failure in self.failures[:20]:
            click.echo(f"  {failure}", err=True)
        if len(self.failures) > 20:
            click.echo(f"  ... and {len(self.failures) - 20} more", err=True)


async def _run_all(
    todo: list[_Task],
    ledger: _Ledger,
    settings: Settings,
    model: ModelSpec,
    options: dict[str, Any],
    stack: ExitStack,
) -> None:
    sandbox = await choose_sandbox(options["sandbox"], options["kind"])
    try:
        agent = make_agent(
            make_toolbox(options["mcp_config"], strict=True, pins=LOCK),
            settings,
            options,
            stack,
            model=model,
            policy=read_policy(options["policy_file"]),
            signature=options["signature"],
            sandbox=sandbox,
            approver=written_consent(options["yes_to"]),
        )
        room = anyio.Semaphore(options["concurrency"])
        async with agent, anyio.create_task_group() as group:
            for task in todo:
                await room.acquire()
                group.start_soon(_run_one, agent, task, options["retries"], ledger, room)
    finally:
        if sandbox is not None:
            with anyio.CancelScope(shield=True):
                await sandbox.close()


async def _run_one(agent: Agent, task: _Task, retries: int, ledger: _Ledger, room: anyio.Semaphore) -> None:
    from corral.agents import AgentError, StopReason

    try:
        for attempt in range(retries + 1):
            result = await agent.run(**task.inputs)
            if result.reason is not StopReason.MODEL_ERROR or attempt == retries:
                ledger.add(task, result)
                return
    except AgentError as error:
        ledger.refuse(task, str(error))
    finally:
        room.release()


def _read_tasks(path: Path) -> list[_Task]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{path}: the file can't be read: {problem}", Exit.BAD_INPUT) from error
    tasks: list[_Task] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except ValueError:
            raise fail(f"{path}:{number}: this is not a JSON object", Exit.BAD_INPUT) from None
        if not isinstance(value, dict):
            raise fail(f"{path}:{number}: this is not a JSON object", Exit.BAD_INPUT)
        inputs = dict(cast("dict[str, Any]", value))
        name = str(inputs.pop("id", number))
        if name in seen:
            raise fail(f"{path}:{number}: the id {name!r} stands here twice", Exit.BAD_INPUT)
        seen.add(name)
        tasks.append(_Task(name, inputs))
    return tasks


def _read_done(path: Path) -> set[str]:
    """The ids with a good result; a torn last line counts as none, and is closed, so that the next one stands alone."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    done: set[str] = set()
    for line in text.splitlines():
        try:
            value: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and cast("dict[str, Any]", value).get("ok"):
            done.add(str(cast("dict[str, Any]", value)["id"]))
    return done
