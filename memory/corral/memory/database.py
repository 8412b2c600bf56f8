"""One SQLite file: one connection and one lock here, any number of processes beside us."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corral.memory.errors import MemoryFault, StoreCorrupt, StoreUnavailable
from corral.memory.lexical import index_text
from corral.memory.schema import migrate

__all__ = ["Database"]

BUSY = 30.0
"""Seconds that a statement waits for another process's write."""

_CACHE_KIB = 32 * 1024


class Database:
    """The open file. Opening it makes its folder, and brings its schema up to date.

    A write that was acknowledged survives the death of the process (WAL with `synchronous=normal`: a loss of power may
    take the newest writes, never the file).

    Raises:
        StoreUnavailable, StoreCorrupt, StoreTooNew: From here and from every use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # For the user alone from the first moment; SQLite gives its log the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreUnavailable(path, error.strerror or str(error)) from error
        with self._typed():
            self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            with self._typed():
                self._prepare()
        except MemoryFault:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        # Two processes that open a new file at once collide here without SQLite's busy handler being asked.
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self._connection.execute("pragma journal_mode = wal")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._connection.execute("pragma synchronous = normal")
        self._connection.execute("pragma secure_delete = on")
        self._connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        for name, (arguments, function) in _FUNCTIONS.items():
            self._connection.create_function(name, arguments, function, deterministic=True)
        migrate(self._connection, self.path)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._typed():
            yield self._connection

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A transaction: committed when the block ends, undone when it raises; one inside another joins it."""
        with self._lock, self._typed():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("begin immediate")
            try:
                yield self._connection
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise

    def has_table(self, name: str) -> bool:
        with self.reading() as connection:
            found = connection.execute("select 1 from sqlite_master where type = 'table' and name = ?", (name,))
            return found.fetchone() is not None

    def erase(self) -> bool:
        """Rewrite the file so that nothing deleted is left in it; False if a reader elsewhere kept the log alive."""
        with self._lock, self._typed():
            # FTS5 keeps the words of deleted rows until its segments are merged.
            self._connection.execute("insert into word_index(word_index) values('optimize')")
            self._connection.execute("vacuum")
            busy, _, _ = self._connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            return not busy

    def backup(self, target: Path) -> None:
        """Copy the whole store, as it is at this moment, into a new file; others may go on writing."""
        with self._lock, self._typed():
            self._connection.execute("vacuum into ?", (str(target),))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _typed(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise StoreCorrupt(self.path, str(error)) from error
            # A closed connection is a ProgrammingError; a full disk, a lock and a lost folder are operational.
            if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
                raise StoreUnavailable(self.path, str(error)) from error
            raise


def _contains(text: str | None, part: str | None) -> bool:
    """Whether `text` has `part` (case-folded already) in it: SQL's own `like` folds ASCII only."""
    return text is not None and part is not None and part in text.casefold()


def _count_words(text: str) -> int:
    return index_text("", True, text)[1]


def _index_words(space: str, integrity: int, text: str) -> str:
    return index_text(space, integrity > 0, text)[0]


_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "contains": (2, _contains),
    "count_words": (1, _count_words),
    "index_words": (3, _index_words),
}
"""What our SQL calls, and with how many arguments."""
