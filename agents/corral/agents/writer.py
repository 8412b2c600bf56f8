"""The journal's writer: a thread that puts events and steps on disk, in the order in which they happened."""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from corral.agents.errors import JournalError
from corral.agents.owner import this_process
from corral.agents.schema import open_journal
from corral.policy import Event, RunFinished, RunStarted

__all__ = ["Change", "StepRow", "Writer"]

_CLOSE = object()


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step that began (`data` is None) or ended."""

    run_id: str
    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Someone in an event loop who waits until what was handed over before is on disk."""

    loop: asyncio.AbstractEventLoop
    tell: Callable[[], None]


Change = Callable[[sqlite3.Connection], object]


class Writer:
    """Writes in batches, one transaction each. After a failure nothing more is written, and everyone is told.

    Raises:
        JournalError: The file can't be opened, is no journal, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = False
        self._last: dict[str, int] = {}
        try:
            connection = open_journal(path)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the journal {path} can't be opened: {error}") from error
        self._thread = threading.Thread(target=self._run, args=(connection,), name="corral-journal", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def put(self, item: Event | StepRow | Change) -> None:
        """Hand something over.

        Raises:
            JournalError: Something earlier could not be written; a run must not go on as if it were recorded.
        """
        self._check()
        if self._closed:
            raise JournalError(f"the journal {self.path} is closed")
        self._queue.put(item)

    def flush(self, timeout: float) -> None:
        """Wait until all that was handed over is on disk.

        Raises:
            JournalError: It could not be written.
        """
        written = threading.Event()
        self._queue.put(written)
        if not written.wait(timeout) and self._failure is None:
            raise JournalError(f"the journal {self.path} took more than {timeout:g} s to write")
        self._check()

    async def written(self, timeout: float) -> None:
        """`flush` for async code.

        Raises:
            JournalError: It could not be written.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        self._queue.put(_Waiter(loop, tell))
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            raise JournalError(f"the journal {self.path} took more than {timeout:g} s to write") from None
        self._check()

    def close(self) -> None:
        """Write what is left and close the file; closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._queue.put(_CLOSE)
            self._thread.join(10)

    def _check(self) -> None:
        if self._failure is not None:
            raise JournalError(f"the journal {self.path} can't be written: {self._failure}") from self._failure

    def _run(self, connection: sqlite3.Connection) -> None:
        try:
            closing = False
            while not closing:
                batch = [self._queue.get()]
                while not self._queue.empty():
                    batch.append(self._queue.get())
                closing = _CLOSE in batch
                self._write(connection, batch)
                for item in batch:
                    _tell(item)
        finally:
            connection.close()

    def _write(self, connection: sqlite3.Connection, batch: list[Any]) -> None:
        if self._failure is not None:
            return
        try:
            with connection:
                for item in batch:
                    if isinstance(item, Event):
                        self._last[item.run_id] = item.seq
                        _insert_event(connection, item)
                    elif isinstance(item, StepRow):
                        _insert_step(connection, item, self._last.get(item.run_id, 0))
                    elif callable(item):
                        item(connection)
                    if isinstance(item, RunFinished):
                        self._last.pop(item.run_id, None)
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._failure = error


def _tell(item: Any) -> None:
    if isinstance(item, threading.Event):
        item.set()
    elif isinstance(item, _Waiter):
        try:
            item.loop.call_soon_threadsafe(item.tell)
        except RuntimeError:  # the loop was closed; nobody waits any more
            return


def _insert_event(connection: sqlite3.Connection, event: Event) -> None:
    if isinstance(event, RunStarted):
        connection.execute(
            "INSERT INTO runs (run_id, agent, kind, model, parent_run_id, started, owner) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (run_id) DO UPDATE SET agent = excluded.agent, kind = excluded.kind, model = excluded.model, "
            "owner = excluded.owner, finished = NULL, reason = NULL, "
            "parent_run_id = COALESCE(excluded.parent_run_id, runs.parent_run_id), "
            "started = CASE runs.started WHEN 0 THEN excluded.started ELSE runs.started END",
            (event.run_id, event.agent, event.kind, event.model, event.parent_run_id, event.at, this_process()),
        )
    elif isinstance(event, RunFinished):
        connection.execute(
            "UPDATE runs SET finished = ?, reason = ? WHERE run_id = ?", (event.at, event.reason, event.run_id)
        )
    connection.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
        (event.run_id, event.seq, event.at, type(event).__name__, _json(event.to_json())),
    )


def _insert_step(connection: sqlite3.Connection, step: StepRow, after: int) -> None:
    if step.data is None:
        connection.execute("INSERT INTO steps (run_id, name, begun) VALUES (?, ?, ?)", (step.run_id, step.name, after))
        return
    connection.execute(
        "INSERT INTO steps (run_id, name, begun, done, data) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (run_id, name) DO UPDATE SET done = excluded.done, data = excluded.data",
        (step.run_id, step.name, after, after, _json(step.data)),
    )


def _json(value: Any) -> str:
    return json.dumps(to_jsonable_python(value, fallback=str), separators=(",", ":"))
