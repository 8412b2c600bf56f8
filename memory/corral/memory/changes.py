"""The history of facts: mem0's own table in our file, for export, import and erasure.

Through mem0 itself a history can be read one fact at a time, and never be written.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corral.memory.database import Database

__all__ = ["FactChange", "erase_changes", "read_changes", "write_changes"]


@dataclass(frozen=True, slots=True)
class FactChange:
    """One change of a fact: `event` is "ADD", "UPDATE" or "DELETE"; `at` is ISO 8601."""

    event: str
    old: str | None
    new: str | None
    at: str


def read_changes(database: Database, facts: Iterable[str]) -> dict[str, list[FactChange]]:
    """The changes of these facts by id, oldest first; a fact without any is left out."""
    changes: dict[str, list[FactChange]] = {}
    with database.reading() as connection:
        if not database.has_table("history"):
            return {}
        rows = connection.execute(
            "select memory_id, event, old_memory, new_memory, coalesce(updated_at, created_at) from history"
            " where memory_id in (select value from json_each(?)) order by created_at, datetime(updated_at), rowid",
            (json.dumps(list(facts)),),
        )
        for fact, *change in rows:
            changes.setdefault(fact, []).append(FactChange(*change))
    return changes


def write_changes(database: Database, changes: Mapping[str, Sequence[FactChange]]) -> None:
    """Add to the histories of facts; mem0 must have made its table."""
    with database.writing() as connection:
        connection.executemany(
            "insert into history(id, memory_id, old_memory, new_memory, event, created_at, updated_at, is_deleted)"
            " values(?, ?, ?, ?, ?, ?, ?, ?)",
            [
                # mem0 sorts by the time of creation first, which is that of the fact.
                (str(uuid.uuid4()), fact, one.old, one.new, one.event, history[0].at, one.at, one.event == "DELETE")
                for fact, history in changes.items()
                for one in history
            ],
        )


def erase_changes(database: Database, gone: Iterable[str], others: Iterable[str], part: str | None) -> int:
    """Erase the histories of facts that are `gone`, and of `others` what has `part` (case-folded) in it; the count."""
    with database.writing() as connection:
        if not database.has_table("history"):
            return 0
        return connection.execute(
            "delete from history where memory_id in (select value from json_each(?)) or"
            " (memory_id in (select value from json_each(?)) and (contains(old_memory, ?) or contains(new_memory, ?)))",
            (json.dumps(list(gone)), json.dumps(list(others)), part, part),
        ).rowcount
