"""What the journal keeps of a run beside its events: what it started from, who runs it, how far it came."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from corral.agents.additions import joined
from corral.agents.codec import message_from_json, message_to_json
from corral.agents.errors import JournalError
from corral.agents.makeup import Used
from corral.agents.owner import running_process
from corral.policy import Traces

if TYPE_CHECKING:
    from dspy.lm15 import Message

__all__ = [
    "MADE",
    "SINCE",
    "TRACES",
    "Opening",
    "RunRecord",
    "StoredStep",
    "delete_runs",
    "read_record",
    "read_traces",
    "read_used",
]

TRACES = "traces"
"""The step that keeps what a run of a session had read at its end."""
MADE = "made"
"""What a run's opening says of the agent."""
SINCE = "since"
"""The one key of what was kept as an addition to the run before."""


@dataclass(frozen=True)
class StoredStep:
    """A step that began; `data` is what it came to, once it ended."""

    is_done: bool
    data: Any


@dataclass(frozen=True)
class Opening:
    """What a run starts from.

    Attributes:
        inputs: JSON values by name.
        messages: The conversation before it that no earlier run of the journal holds; the run's own events do.
        previous: The run whose conversation this one goes on from.
        traces: What that conversation had read, as JSON: whole, or what came since the run `previous`.
        made: What its agent is made of, as JSON.
    """

    run_id: str
    inputs: Mapping[str, Any]
    messages: Sequence[Message] = ()
    session_id: str | None = None
    previous: str | None = None
    traces: Mapping[str, Any] | None = None
    made: Mapping[str, Any] | None = None

    def insert(self, connection: sqlite3.Connection) -> None:
        opening: dict[str, Any] = {
            "inputs": dict(self.inputs),
            "messages": [message_to_json(message) for message in self.messages],
        }
        if self.traces is not None:
            opening["traces"] = self.traces
        if self.made is not None:
            opening[MADE] = self.made
        connection.execute(
            "INSERT INTO runs (run_id, agent, kind, model, started, session_id, previous, opening) "
            "VALUES (?, '', '', '', 0, ?, ?, ?)",
            (self.run_id, self.session_id, self.previous, json.dumps(opening)),
        )


@dataclass(frozen=True)
class RunRecord:
    """A run as the journal knows it.

    Attributes:
        events: How many events of each type it has.
        last_seq: The number of the last one.
        seconds: How long it ran, the time between a crash and a resume left out.
        alive: The process that runs it now, as far as this host can tell; None if none does.
        made: What its agent was made of, as JSON; None where nobody wrote it down.
    """

    run_id: str
    agent: str
    kind: str
    model: str
    reason: str | None
    session_id: str | None
    previous: str | None
    inputs: Mapping[str, Any]
    messages: tuple[Message, ...]
    events: Counter[str]
    last_seq: int
    seconds: float
    alive: int | None
    traces: Traces = field(default_factory=Traces)
    made: Any = None

    def check_over(self) -> None:
        """Raises JournalError while a process runs it."""
        if self.alive is not None:
            here = ", which is this one; if it ended and that could not be written, resume it from another process"
            where = f"{self.alive}{here if self.alive == os.getpid() else ''}"
            raise JournalError(f"the run {self.run_id} still goes on in process {where}")


def read_record(path: Path, run_id: str, read: Callable[..., list[sqlite3.Row]]) -> RunRecord:
    """The record of one run.

    Raises:
        JournalError: There is none, or it was recorded without what a resume needs.
    """
    rows = read("SELECT * FROM runs WHERE run_id = ?", run_id)
    if not rows:
        raise JournalError(f"the journal {path} has no run {run_id}")
    (row,) = rows
    if row["opening"] is None:
        raise JournalError(f"the run {run_id} was recorded as events only; give the agent journal=... to resume runs")
    opening: dict[str, Any] = json.loads(row["opening"])
    times = read("SELECT seq, at, type FROM events WHERE run_id = ? ORDER BY seq", run_id)
    return RunRecord(
        run_id=run_id,
        agent=row["agent"],
        kind=row["kind"],
        model=row["model"],
        reason=row["reason"],
        session_id=row["session_id"],
        previous=row["previous"],
        inputs=opening["inputs"],
        messages=tuple(message_from_json(message) for message in opening["messages"]),
        events=Counter(str(time["type"]) for time in times),
        last_seq=times[-1]["seq"] if times else 0,
        seconds=_seconds(times),
        alive=running_process(row["owner"]) if row["finished"] is None else None,
        traces=_opened_with(row, opening.get("traces"), read) if row["session_id"] is not None else Traces(),
        made=opening.get(MADE),
    )


def read_used(run_id: str, read: Callable[..., list[sqlite3.Row]]) -> Used:
    """What the recorded steps of a run need of its agent."""
    rows = read(
        "SELECT type, json_extract(data, '$.step') AS step, json_extract(data, '$.tool') AS tool, "
        "json_extract(data, '$.outcome') AS outcome FROM events WHERE run_id = ? "
        "AND type IN ('StepStarted', 'ModelCalled', 'ToolCalled', 'ToolReturned', 'CellStarted') ORDER BY seq",
        run_id,
    )
    answered, step, code = False, 1, None
    called: dict[str, int] = {}
    there: set[str] = set()
    for row in rows:
        match row["type"]:
            case "StepStarted":
                step = row["step"]
            case "ModelCalled":
                answered = True
            case "ToolCalled":
                called.setdefault(row["tool"], step)
            case "ToolReturned":
                there.update([row["tool"]] if row["outcome"] != "error" else [])
            case _:
                code = code or step
    tools = {name: at for name, at in called.items() if name in there}
    return Used(answered, tools, {name: at for name, at in called.items() if name not in there}, code)


def read_traces(run_id: str, read: Callable[..., list[sqlite3.Row]]) -> Traces:
    """What the turns of a session had read up to the end of one run; where nothing was kept, that may be anything."""
    return _traces(run_id, _kept_at_the_end(run_id, read))


def _opened_with(row: sqlite3.Row, kept: Any, read: Callable[..., list[sqlite3.Row]]) -> Traces:
    if isinstance(kept, dict) and SINCE in kept:
        before = _kept_at_the_end(row["previous"], read) if row["previous"] is not None else None
        kept = _on_top(before, cast("dict[str, Any]", kept))
    return _traces(row["run_id"], kept)


def _kept_at_the_end(run_id: str, read: Callable[..., list[sqlite3.Row]]) -> Any | None:
    """The JSON of what was read up to the end of a run: each turn of its session keeps what it added."""
    rows = read(
        "WITH RECURSIVE chain (run_id, place) AS (SELECT ?, 0 UNION ALL SELECT runs.previous, place + 1 FROM chain "
        "JOIN runs ON runs.run_id = chain.run_id WHERE runs.previous IS NOT NULL) "
        "SELECT steps.data FROM chain LEFT JOIN steps ON steps.run_id = chain.run_id AND steps.name = ? "
        "ORDER BY chain.place DESC",
        run_id,
        TRACES,
    )
    kept: Any = None
    for row in rows:
        kept = _on_top(kept, None if row["data"] is None else json.loads(row["data"]))
    return kept


def _on_top(before: Any, data: dict[str, Any] | None) -> Any | None:
    if data is None or SINCE not in data:
        return data
    try:
        return None if before is None else joined(before, data[SINCE])
    except (AttributeError, KeyError, TypeError):
        return None


def _traces(run_id: str, kept: Any) -> Traces:
    try:
        return Traces.from_json(kept)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Traces.unknown(f"run:{run_id}")


def delete_runs(connection: sqlite3.Connection, run_ids: Sequence[str]) -> None:
    """Delete runs with all that belongs to them."""
    for table in ("events", "steps", "runs"):
        connection.executemany(f"DELETE FROM {table} WHERE run_id = ?", [(run_id,) for run_id in run_ids])


def _seconds(times: Sequence[sqlite3.Row]) -> float:
    lives: list[list[float]] = []
    for time in times:
        if time["type"] == "RunStarted" or not lives:
            lives.append([])
        lives[-1].append(time["at"])
    return sum(life[-1] - life[0] for life in lives)
