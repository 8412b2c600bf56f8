"""Lineage: which runs of a journal were delegated by which; they are forgotten together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from corral.agents.records import delete_runs

__all__ = ["delegated", "forget_below", "heads"]

_DELEGATED = (
    # A fork names the run that it was taken from in the same column, but has no step there.
    "SELECT DISTINCT runs.run_id, runs.parent_run_id, json_extract(events.data, '$.parent_step') AS step "
    "FROM runs JOIN events ON events.run_id = runs.run_id AND events.type = 'RunStarted' "
    "WHERE step IS NOT NULL AND json_extract(events.data, '$.parent_run_id') = runs.parent_run_id"
)


def delegated(read: Callable[..., list[sqlite3.Row]], run_id: str | None = None) -> dict[str, str]:
    """The run that delegated it, by run, for all that were delegated, or for one of them."""
    rows = read(_DELEGATED) if run_id is None else read(f"{_DELEGATED} AND runs.run_id = ?", run_id)
    return {row["run_id"]: row["parent_run_id"] for row in rows}


def heads(run_ids: Iterable[str], above: Mapping[str, str]) -> dict[str, str]:
    """By run, the first run of its team that is among them."""
    found: dict[str, str] = {}
    known = set(run_ids)
    for run_id in known:
        head = run_id
        while (parent := above.get(head)) in known:
            head = parent
        found[run_id] = head
    return found


def forget_below(connection: sqlite3.Connection, run_id: str) -> None:
    """Delete what was delegated in steps that are not recorded any more."""
    kept = {name for (name,) in connection.execute("SELECT name FROM steps WHERE run_id = ?", (run_id,))}
    rows: list[Any] = connection.execute(f"{_DELEGATED} AND runs.parent_run_id = ?", (run_id,)).fetchall()
    for below, _, step in rows:
        if step not in kept:
            connection.execute("DELETE FROM steps WHERE run_id = ?", (below,))
            forget_below(connection, below)
            delete_runs(connection, [below])
