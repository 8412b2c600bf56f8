"""The journal: every event of a run in SQLite, appended as it happens; resume, export and the console read it."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from corral.agents.codec import message_from_json
from corral.agents.errors import JournalError
from corral.agents.lineage import delegated, forget_below, heads
from corral.agents.makeup import Used
from corral.agents.records import (
    MADE,
    Opening,
    RunRecord,
    StoredStep,
    delete_runs,
    read_record,
    read_traces,
    read_used,
)
from corral.agents.schema import SCHEMA_VERSION
from corral.agents.writer import Change, StepRow, Writer
from corral.policy import Event, RunFinished, Traces

if TYPE_CHECKING:
    from dspy.lm15 import Message

__all__ = ["Journal"]

_FLUSH = 10.0
"""Seconds that a disk may take."""


class Journal:
    """A sink that keeps events in a SQLite file (WAL), written by a thread of its own in batches.

    Given to an agent as `journal=`, it also keeps what its runs need to be resumed. `emit` hands over and returns;
    `close`, and the end of each run, wait until all is on disk. Several processes may share a file. Use it as a context
    manager, or close it.

    Raises:
        JournalError: The file can't be opened, is no journal, or was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._writer = Writer(self.path)

    def emit(self, event: Event) -> None:
        """Hand an event over.

        Raises:
            JournalError: An earlier one could not be written; the run must not go on as if it were recorded.
        """
        self._writer.put(event)
        if isinstance(event, RunFinished):
            self.flush()

    def flush(self, timeout: float = _FLUSH) -> None:
        """Wait until all that was handed over is on disk.

        Raises:
            JournalError: It could not be written.
        """
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what is left and close the file; closing twice is fine."""
        self._writer.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Journal:
        # DSPy's optimisers copy agents: the copies write to the same journal.
        return self

    def runs(self, session_id: str | None = None) -> list[dict[str, Any]]:
        """All runs, or those of one session, the newest first, as rows."""
        where = "" if session_id is None else "WHERE session_id = ? "
        values = () if session_id is None else (session_id,)
        rows = self._read(f"SELECT * FROM runs {where}ORDER BY started DESC", *values)
        return [dict(row) for row in rows]

    def last_run(self, session_id: str) -> dict[str, Any] | None:
        """The newest run of a session, as a row."""
        rows = self._read(
            "SELECT * FROM runs WHERE session_id = ? ORDER BY started DESC, rowid DESC LIMIT 1", session_id
        )
        return dict(rows[0]) if rows else None

    def is_cut_off(self, run: Mapping[str, Any]) -> bool:
        """Whether a row of `runs` is of a run that did not end, or that ended while a person was asked."""
        if run["finished"] is None:
            return True
        rows = self._read(
            "SELECT type, json_extract(data, '$.digest') AS digest FROM events WHERE run_id = ? "
            "AND type IN ('ApprovalAsked', 'ApprovalGiven') ORDER BY seq",
            run["run_id"],
        )
        waiting: set[str] = set()
        for row in rows:
            (waiting.add if row["type"] == "ApprovalAsked" else waiting.discard)(row["digest"])
        return run["reason"] == "cancelled" and bool(waiting)

    def events(self, run_id: str) -> Iterator[dict[str, Any]]:
        """The events of one run in order, as `Event.to_json` made them."""
        for row in self._read("SELECT data FROM events WHERE run_id = ? ORDER BY seq", run_id):
            yield json.loads(row["data"])

    def messages(self, run_id: str) -> list[Message]:
        """The conversation of one run, as the model saw it, with the turns of its session before it."""
        return self._read(
            "WITH RECURSIVE chain (run_id, place) AS (SELECT ?, 0 UNION ALL SELECT runs.previous, place + 1 FROM chain "
            "JOIN runs ON runs.run_id = chain.run_id WHERE runs.previous IS NOT NULL) "
            "SELECT events.data FROM chain JOIN events ON events.run_id = chain.run_id "
            "WHERE events.type = 'MessageAdded' ORDER BY chain.place DESC, events.seq",
            run_id,
            row=_message,
        )

    def __contains__(self, run_id: str) -> bool:
        return bool(self._read("SELECT 1 FROM runs WHERE run_id = ? AND opening IS NOT NULL", run_id))

    def traces(self, run_id: str) -> Traces:
        """What the turns of a session had read up to the end of one run; unknown is untrusted."""
        return read_traces(run_id, self._read)

    def record(self, run_id: str) -> RunRecord:
        """What is known of one run.

        Raises:
            JournalError: There is no such run.
        """
        return read_record(self.path, run_id, self._read)

    def find(self, run_id: str) -> RunRecord | None:
        """What is known of one run; None if there is none."""
        return self.record(run_id) if self._read("SELECT 1 FROM runs WHERE run_id = ?", run_id) else None

    def delegated_by(self, run_id: str) -> str | None:
        """The run that delegated this one, if one did."""
        return delegated(self._read, run_id).get(run_id)

    def used(self, run_id: str) -> Used:
        """What the recorded steps of a run need of its agent."""
        return read_used(run_id, self._read)

    def remade(self, run_id: str, made: Mapping[str, Any]) -> None:
        """Keep that a run goes on with an agent that is made so."""
        change = "UPDATE runs SET opening = json_set(opening, ?, json(?)) WHERE run_id = ?"
        self._writer.put(lambda connection: connection.execute(change, (f"$.{MADE}", json.dumps(made), run_id)))

    def begin(self, opening: Opening) -> None:
        """Keep what a run starts from, ahead of its first event."""
        self._writer.put(opening.insert)

    def keep(self, run_id: str, name: str, data: Any | None) -> None:
        """Keep that a step began, or with `data` (JSON) what it came to."""
        self._writer.put(StepRow(run_id, name, data))

    async def kept(self) -> None:
        """Wait until all that was handed over is on disk.

        Raises:
            JournalError: It could not be written.
        """
        await self._writer.written(_FLUSH)

    def steps(self, run_id: str) -> dict[str, StoredStep]:
        """The steps of one run that began, by name."""
        rows = self._read("SELECT name, data, done FROM steps WHERE run_id = ?", run_id)
        return {
            row["name"]: StoredStep(row["done"] is not None, json.loads(row["data"]) if row["data"] else None)
            for row in rows
        }

    def fork(self, run_id: str, step: int) -> str:
        """A copy of a run up to the end of its step `step`, 1-based, to be resumed from there; 0 is before the first.

        What the steps after it did to the world stays done.

        Returns:
            The id of the copy.

        Raises:
            JournalError: There is no such run, or it has no such step.
        """
        cut = self._end_of(run_id, step)
        copy = uuid.uuid4().hex

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO runs (run_id, agent, kind, model, parent_run_id, started, session_id, previous, opening) "
                "SELECT ?, agent, kind, model, run_id, ?, session_id, previous, opening FROM runs WHERE run_id = ?",
                (copy, time.time(), run_id),
            )
            connection.execute(
                "INSERT INTO events SELECT ?, seq, at, type, json_set(data, '$.run_id', ?) FROM events "
                "WHERE run_id = ? AND seq < ?",
                (copy, copy, run_id, cut),
            )
            connection.execute(
                "INSERT INTO steps SELECT ?, name, begun, done, data FROM steps WHERE run_id = ? AND done < ?",
                (copy, run_id, cut),
            )

        self._change(insert)
        return copy

    def rewind(self, run_id: str, step: int) -> None:
        """Forget what a run did after its step `step`, and what it delegated; what it did to the world stays done.

        See `fork`.

        Raises:
            JournalError: There is no such run, it has no such step, or it still goes on.
        """
        self.record(run_id).check_over()
        cut = self._end_of(run_id, step)

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events WHERE run_id = ? AND seq >= ?", (run_id, cut))
            connection.execute("DELETE FROM steps WHERE run_id = ? AND (done IS NULL OR done >= ?)", (run_id, cut))
            forget_below(connection, run_id)
            connection.execute(
                "UPDATE runs SET finished = NULL, reason = NULL, owner = NULL WHERE run_id = ?", (run_id,)
            )

        self._change(delete)

    def export(self, file: TextIO, run_ids: Sequence[str] | None = None) -> int:
        """Write runs as JSON lines: for each a line of type "Run", then its events.

        Returns:
            How many runs.
        """
        chosen = [row for row in self.runs() if run_ids is None or row["run_id"] in run_ids]
        for row in reversed(chosen):
            about = {name: row[name] for name in ("agent", "kind", "model", "session_id", "previous", "reason")}
            head = {"type": "Run", "version": SCHEMA_VERSION, "run_id": row["run_id"], **about}
            file.write(json.dumps(head, ensure_ascii=False) + "\n")
            for event in self.events(row["run_id"]):
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        return len(chosen)

    def prune(self, older_than: float, *, keep: int = 0) -> int:
        """Delete finished runs that are older than `older_than` seconds, but not the newest `keep`.

        A run that a kept one goes on from, as the turn before it, stays. What a run delegated stays and goes with it,
        and does not count for `keep`.

        Returns:
            How many were deleted.
        """
        every = self.runs()
        head = heads((row["run_id"] for row in every), delegated(self._read))
        rows = [row for row in every if head[row["run_id"]] == row["run_id"]]
        since = time.time() - older_than
        kept = {
            row["run_id"]
            for place, row in enumerate(rows)
            if place < keep or row["finished"] is None or row["finished"] >= since
        }
        before = {row["run_id"]: row["previous"] for row in rows}
        for run_id in list(kept):
            while (run_id := before.get(run_id)) is not None and run_id not in kept:
                kept.add(run_id)
        gone = [row["run_id"] for row in every if head[row["run_id"]] not in kept]
        self._change(partial(delete_runs, run_ids=gone))
        return len(gone)

    def _end_of(self, run_id: str, step: int) -> int:
        """The number of the first event after a step."""
        rows = self._read(
            "SELECT seq, json_extract(data, '$.step') AS step FROM events WHERE run_id = ? AND type = 'StepStarted' "
            "ORDER BY seq DESC",
            run_id,
        )
        after = next((row["seq"] for row in reversed(rows) if row["step"] == step + 1), None)
        if after is not None:
            return after
        last: Any = self._read("SELECT MAX(seq) AS seq FROM events WHERE run_id = ?", run_id)[0]["seq"]
        if last is None:
            raise JournalError(f"the journal {self.path} has no run {run_id}")
        if step != 0 and not any(row["step"] == step for row in rows):
            raise JournalError(f"the run {run_id} has no step {step}")
        return last + 1

    def _change(self, change: Change) -> None:
        self._writer.put(change)
        self.flush()

    def _read(self, query: str, *values: Any, row: Any = sqlite3.Row) -> list[Any]:
        """All rows, each made by `row` as it is read: what is not kept is no work for the garbage collector."""
        if not self._writer.is_closed:
            self.flush()
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = row
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} can't be read: {error}") from error
        finally:
            connection.close()


def _message(_: sqlite3.Cursor, row: tuple[str]) -> Message:
    return message_from_json(json.loads(row[0])["message"])
