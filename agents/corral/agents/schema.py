"""The journal's tables, how an older file is brought up to date, and how a newer one is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from corral.agents.errors import JournalError

__all__ = ["SCHEMA_VERSION", "open_journal"]

_FIRST = """
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

_MIGRATIONS = (
    # 1 -> 2: what a run needs to be resumed. `begun` and `done` are the last event before a step began and ended.
    """
    ALTER TABLE runs ADD COLUMN session_id TEXT;
    ALTER TABLE runs ADD COLUMN previous TEXT;
    ALTER TABLE runs ADD COLUMN opening TEXT;
    ALTER TABLE runs ADD COLUMN owner TEXT;
    CREATE INDEX runs_of_sessions ON runs (session_id, started) WHERE session_id IS NOT NULL;
    CREATE TABLE steps (
        run_id TEXT NOT NULL, name TEXT NOT NULL, begun INTEGER NOT NULL, done INTEGER, data TEXT,
        PRIMARY KEY (run_id, name)
    ) WITHOUT ROWID;
    """,
)

SCHEMA_VERSION = 1 + len(_MIGRATIONS)


def open_journal(path: Path) -> sqlite3.Connection:
    """A connection for writing, to a file that is made or brought up to date first.

    Raises:
        JournalError: It is no journal, or a newer version wrote it.
        sqlite3.Error, OSError: It can't be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        _migrate(connection, _version(path, connection))
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """0 for an empty file."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if "meta" not in tables or "events" not in tables:
        raise JournalError(f"{path} is a database, but no journal of runs; give another path")
    row: Any = connection.execute("SELECT version FROM meta").fetchone()
    version = row[0] if row else None
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} has schema version {version}, this Corral knows up to {SCHEMA_VERSION}; "
            "use a newer Corral or another path"
        )
    return version


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version == 0:
        _execute_all(connection, _FIRST)
        connection.execute("INSERT INTO meta VALUES (1)")
        version = 1
    for script in _MIGRATIONS[version - 1 :]:
        _execute_all(connection, script)
    connection.execute("UPDATE meta SET version = ?", (SCHEMA_VERSION,))


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    for statement in filter(str.strip, script.split(";")):
        connection.execute(statement)
