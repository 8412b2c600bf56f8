"""The journal: every event of a run in SQLite, appended as it happens; resume, export and the console read it."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dspy.lm15 import Message
from pydantic_core import to_jsonable_python

from corral.agents.codec import message_from_json
from corral.agents.errors import JournalError
from corral.policy import Event, RunFinished, RunStarted

__all__ = ["Journal"]

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (version INTEGER NOT NULL);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, agent TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, parent_run_id TEXT,
    started REAL NOT NULL, finished REAL, reason TEXT
);
CREATE TABLE events (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
"""

_CLOSE = object()


class Journal:
    """A sink that keeps events in a SQLite file (WAL), written by a thread of its own in batches.

    `emit` hands over and returns; `close`, and the end of each run, wait until all is on disk. Several processes may
    share a file. Use it as a context manager, or close it.

    Raises:
        JournalError: The file can't be opened, is no journal, or was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = _open(self.path)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the journal {self.path} can't be opened: {error}") from error
        self._thread = threading.Thread(target=self._write_all, args=(connection,), name="corral-journal", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Hand an event over.

        Raises:
            JournalError: An earlier one could not be written; the run must not go on as if it were recorded.
        """
        if self._failure is not None:
            raise JournalError(f"the journal {self.path} can't be written: {self._failure}") from self._failure
        if self._closed:
            raise JournalError(f"the journal {self.path} is closed")
        self._queue.put(event)
        if isinstance(event, RunFinished):
            self.flush()

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until all that was handed over is on disk.

        Raises:
            JournalError: It could not be written.
        """
        written = threading.Event()
        self._queue.put(written)
        if not written.wait(timeout) and self._failure is None:
            raise JournalError(f"the journal {self.path} took more than {timeout:g} s to write")
        if self._failure is not None:
            raise JournalError(f"the journal {self.path} can't be written: {self._failure}") from self._failure

    def close(self) -> None:
        """Write what is left and close the file; closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._queue.put(_CLOSE)
            self._thread.join(10)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first, as rows."""
        rows = self._read("SELECT * FROM runs ORDER BY started DESC")
        return [dict(row) for row in rows]

    def events(self, run_id: str) -> Iterator[dict[str, Any]]:
        """The events of one run in order, as `Event.to_json` made them."""
        for row in self._read("SELECT data FROM events WHERE run_id = ? ORDER BY seq", run_id):
            yield json.loads(row["data"])

    def messages(self, run_id: str) -> list[Message]:
        """The conversation of one run, as the model saw it."""
        return [message_from_json(e["message"]) for e in self.events(run_id) if e["type"] == "MessageAdded"]

    def _read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        if not self._closed:
            self.flush()
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} can't be read: {error}") from error
        finally:
            connection.close()

    def _write_all(self, connection: sqlite3.Connection) -> None:
        try:
            closing = False
            while not closing:
                batch = [self._queue.get()]
                while not self._queue.empty():
                    batch.append(self._queue.get())
                closing = _CLOSE in batch
                self._write(connection, [item for item in batch if isinstance(item, Event)])
                for item in batch:
                    if isinstance(item, threading.Event):
                        item.set()
        finally:
            connection.close()

    def _write(self, connection: sqlite3.Connection, events: list[Event]) -> None:
        if self._failure is not None:
            return
        try:
            with connection:
                for event in events:
                    _insert(connection, event)
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._failure = error


def _insert(connection: sqlite3.Connection, event: Event) -> None:
    if isinstance(event, RunStarted):
        connection.execute(
            "INSERT INTO runs (run_id, agent, kind, model, parent_run_id, started) VALUES (?, ?, ?, ?, ?, ?)",
            (event.run_id, event.agent, event.kind, event.model, event.parent_run_id, event.at),
        )
    elif isinstance(event, RunFinished):
        connection.execute(
            "UPDATE runs SET finished = ?, reason = ? WHERE run_id = ?", (event.at, event.reason, event.run_id)
        )
    data = json.dumps(to_jsonable_python(event.to_json(), fallback=str), separators=(",", ":"))
    connection.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?)", (event.run_id, event.seq, event.at, type(event).__name__, data)
    )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES (?)", (SCHEMA_VERSION,))
        elif "meta" not in tables or "events" not in tables:
            raise JournalError(f"{path} is a database, but no journal of runs; give another path")
        else:
            _check_version(path, connection.execute("SELECT version FROM meta").fetchone())
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(path: Path, row: Any) -> None:
    version = row[0] if row else None
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} has schema version {version}, this Corral knows up to {SCHEMA_VERSION}; "
            "use a newer Corral or another path"
        )
