"""The ledger of a batch: a line for each result, what is still to do after an interruption, and the report."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self, TextIO, cast

import click

from corral.apps.failures import Exit, fail
from corral.apps.scripted import Outcome
from corral.apps.tasklist import BatchTask
from corral.apps.terminal import printable

__all__ = ["Ledger"]

MOST_FAILURES = 20


class Ledger:
    """Writes results and counts them; one process at a time.

    Beside the results stands a file with the run of each task that was started, by which an interrupted one is found in
    the journal. It goes when the batch is done.

    Attributes:
        left_out: Tasks that had a good result from before.
    """

    def __init__(self, path: Path, tasks: list[BatchTask]) -> None:
        self.path = path
        self._started_path = path.with_name(f"{path.name}.started")
        self._tasks = tasks
        if not path.exists():
            self._started_path.unlink(missing_ok=True)  # a new batch: what an older one started is not looked for
        self._results = _open(path)
        known = _lines(path)
        digests = {task.id: task.digest for task in tasks}
        good = {str(line["id"]): line.get("task") for line in known if line.get("ok")}
        # One whose line has changed since is another task.
        self._done = {name for name, digest in good.items() if digest is None or digest == digests.get(name)}
        ended = {line.get("run_id") for line in known}
        self._cut_off = {
            str(line["id"]): str(line["run_id"])
            for line in _lines(self._started_path)
            if line["run_id"] not in ended and line.get("task") == digests.get(str(line["id"]))
        }
        self._started = self._started_path.open("a", encoding="utf-8")
        self.left_out = sum(task.id in self._done for task in tasks)
        self.reasons = Counter[str]()
        self.failures: list[str] = []
        self._written: list[dict[str, Any]] = []
        self.tokens = 0
        self._cost: float | None = 0.0
        self._begun = time.monotonic()
        self._bar: Any = None

    @property
    def todo(self) -> list[BatchTask]:
        """The tasks without a good result."""
        return [task for task in self._tasks if task.id not in self._done]

    def cut_off(self, task: BatchTask) -> str | None:
        """The run of the task that was interrupted, if one was."""
        return self._cut_off.get(task.id)

    def start(self, task: BatchTask, run_id: str) -> None:
        """Note that a task is about to be run."""
        self._started.write(json.dumps({"id": task.id, "run_id": run_id, "task": task.digest}) + "\n")
        self._started.flush()

    def add(self, task: BatchTask, outcome: Outcome) -> None:
        """Keep what a task came to."""
        results = outcome.results
        costs = [result.usage.cost_usd for result in results]
        cost = None if None in costs else sum(cost or 0.0 for cost in costs)
        tokens = sum(result.usage.tokens for result in results)
        reason = "unmet" if outcome.unmet else results[-1].reason.value if results else "done"
        line = {
            "id": task.id,
            "ok": outcome.ok,
            "reason": reason,
            "outputs": outcome.outputs,
            "detail": "; ".join(outcome.problems),
            "run_id": results[-1].run_id if results else None,
            "steps": sum(result.steps for result in results),
            "tool_calls": sum(result.tool_calls for result in results),
            "tokens": tokens,
            "cost_usd": cost,
            "seconds": round(sum(result.seconds for result in results), 3),
            "task": task.digest,
        }
        self.tokens += tokens
        self._cost = None if cost is None or self._cost is None else self._cost + cost
        self._write(line)

    def refuse(self, task: BatchTask, problem: str) -> None:
        """A task that could not be run at all."""
        self._write({"id": task.id, "ok": False, "reason": "error", "outputs": None, "detail": problem})

    def report(self) -> None:
        """Say on stderr how it went, and what failed."""
        seconds = time.monotonic() - self._begun
        ran = self.reasons.total()
        counts = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        before = f", {self.left_out} had a result already" if self.left_out else ""
        money = f", {self._cost:.4f} USD" if self._cost else ""
        click.echo(
            f"{len(self._tasks)} tasks: {counts or 'none run'}{before}; {self.tokens} tokens{money}; "
            f"{seconds:.1f} s, {ran / max(seconds, 1e-3):.1f} a second; {self.path}",
            err=True,
        )
        for line in self._table():
            click.echo(line, err=True)
        for failure in self.failures[:MOST_FAILURES]:
            click.echo(printable(f"  {failure}"), err=True)
        if len(self.failures) > MOST_FAILURES:
            click.echo(f"  ... and {len(self.failures) - MOST_FAILURES} more, in {self.path}", err=True)

    def _table(self) -> Iterator[str]:
        """What tasks came to, by reason: how many, and the seconds and tokens that half of them stayed below."""
        yield f"  {'reason':<12} {'tasks':>6} {'s p50':>8} {'s most':>8} {'tokens p50':>11}"
        for reason, count in self.reasons.most_common():
            seconds = [line.get("seconds", 0.0) for line in self._written if line["reason"] == reason]
            tokens = [line.get("tokens", 0) for line in self._written if line["reason"] == reason]
            yield f"  {reason:<12} {count:>6} {median(seconds):>8.2f} {max(seconds):>8.2f} {median(tokens):>11.0f}"

    def _write(self, line: dict[str, Any]) -> None:
        # One write a line: what is on disk is whole lines, save perhaps the last.
        self._results.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._results.flush()
        self.reasons[line["reason"]] += 1
        self._written.append({name: line[name] for name in ("reason", "seconds", "tokens") if name in line})
        if not line["ok"]:
            run = f"  (corral runs show {line['run_id']})" if line.get("run_id") else ""
            self.failures.append(f"{line['id']}: {line['reason']} {line['detail']}".rstrip() + run)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, failed=len(self.failures))

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar(len(self._tasks), self.left_out)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._started.close()
        if self.left_out + self.reasons.total() >= len(self._tasks):
            self._started_path.unlink(missing_ok=True)
        self._results.close()


def _open(path: Path) -> TextIO:
    """The results, for this process alone; a torn last line is closed, so that the next one stands alone."""
    try:
        file = path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise fail(f"{path}: the results can't be written: {error.strerror}", Exit.BAD_INPUT) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise fail(f"{path}: another batch is writing these results", Exit.ERROR) from None
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        file.write("\n")
        file.flush()
    return file


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file that name a task."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            value: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "id" in value:
            found.append(cast("dict[str, Any]", value))
    return found


def _bar(total: int, done: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task("", total=total, completed=done, failed=0)
    return progress
