"""Erasure: every copy of what is to be forgotten, in the tables, the index, the history and the file itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from corral.memory.scope import Scope
from corral.memory.store import Row, Store
from corral.memory.turn import Receipt

__all__ = ["erase"]


def erase(
    store: Store,
    scope: Scope,
    *,
    subject: str | None,
    ids: Iterable[str],
    session: str | None,
    everything: bool,
    facts_only: bool,
) -> Receipt:
    """Erase what matches any of these, and the facts that were drawn from it alone."""
    space = store.space(scope)
    wanted = set(ids)
    needle = subject.casefold() if subject else None

    def matches(row: Row) -> bool:
        if facts_only and row.kind == "episode":
            return False
        said = needle is not None and needle in (row.text + json.dumps(row.extra, ensure_ascii=False)).casefold()
        return everything or said or row.uid in wanted or (session is not None and row.session == session)

    with store.database.writing() as connection:
        gone = {row.uid for row in _all(store, space) if matches(row)}
        if not facts_only:
            kept = {row.uid for row in _all(store, space)} - gone
            gone |= {r.uid for r in _all(store, space) if not gone.isdisjoint(r.cites) and kept.isdisjoint(r.cites)}
        facts = [row.uid for row in _all(store, space) if row.kind == "fact"]
        erased = store.delete(space, gone)
        copies = Counter(row.kind for row in erased)
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        if "history" in tables:
            copies["history"] = connection.execute(
                "delete from history where memory_id in (select value from json_each(?)) or"
                " (memory_id in (select value from json_each(?))"
                "  and (contains(old_memory, ?) or contains(new_memory, ?)))",
                (json.dumps(sorted(gone)), json.dumps(facts), needle, needle),
            ).rowcount
        if "messages" in tables:
            copies["messages"] = connection.execute(
                "delete from messages where session_scope = ? and (? or contains(content, ?))",
                (_mem0_session(scope), everything, needle),
            ).rowcount
    complete = store.database.erase() if any(copies.values()) else True
    return Receipt(tuple(row.uid for row in erased), copies=dict(copies), complete=complete)


def _mem0_session(scope: Scope) -> str:
    """How mem0 names this scope in its table of messages, from ids that we encoded before."""
    agent, user = (quote(quote(name, safe=""), safe="") for name in (scope.agent, scope.user))
    return f"agent_id={agent}&user_id={user}"


def _all(store: Store, space: str) -> Iterator[Row]:
    last = 0
    while rows := store.page(space, last):
        yield from rows
        last = rows[-1].id
