"""The ledger: what rates and quotas have counted, kept in a file that several processes share."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Ledger", "LedgerFault"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, level REAL NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS spent (quota TEXT NOT NULL, at REAL NOT NULL, amount REAL NOT NULL);
CREATE INDEX IF NOT EXISTS spent_by_quota ON spent (quota, at);
"""
_WAIT = 5.0
"""Seconds to wait for another process."""


class LedgerFault(Exception):
    """The file can't be read or written; whoever asks it must refuse what it can't count."""


class Ledger:
    """A SQLite file; safe from several threads and processes, made when it is first used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def change(self) -> Generator[sqlite3.Connection]:
        """A transaction, alone in the file; rolled back when its body raises.

        Raises:
            LedgerFault: The file can't be used.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise LedgerFault(f"{self.path}: {error}") from error
        try:
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerFault(f"{self.path}: {error}") from error
        finally:
            connection.close()  # what was not committed is rolled back
