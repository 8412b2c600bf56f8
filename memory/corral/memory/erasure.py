"""Erasure: every copy of what is to be forgotten, in the tables, the index, the history and the file itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from corral.memory.changes import erase_changes
from corral.memory.errors import StoreUnavailable
from corral.memory.row import Row
from corral.memory.scope import Scope
from corral.memory.shared import Shared
from corral.memory.store import Store
from corral.memory.turn import Receipt

__all__ = ["erase"]


def erase(
    store: Store,
    scope: Scope,
    *,
    subject: str | None,
    ids: Iterable[str],
    session: str | None,
    expired_at: float | None,
    everything: bool,
    facts_only: bool,
    shared: Shared | None,
) -> Receipt:
    """Erase what matches any of these, and the facts that were drawn from it alone.

    Raises:
        LongTermUnavailable: The shared store could not erase its copies; then nothing is erased here either.
    """
    space = store.space(scope)
    wanted = set(ids)
    needle = subject.casefold() if subject else None

    def matches(row: Row) -> bool:
        if facts_only and row.kind == "episode":
            return False
        said = needle is not None and needle in (row.text + json.dumps(row.extra, ensure_ascii=False)).casefold()
        over = expired_at is not None and row.expires is not None and row.expires <= expired_at
        return everything or over or said or row.uid in wanted or (session is not None and row.session == session)

    with store.database.writing() as connection:
        gone = {row.uid for row in _all(store, space) if matches(row)}
        if not facts_only:
            kept = {row.uid for row in _all(store, space)} - gone
            gone |= {r.uid for r in _all(store, space) if not gone.isdisjoint(r.cites) and kept.isdisjoint(r.cites)}
        facts = [row.uid for row in _all(store, space) if row.kind == "fact"]
        copied = [] if shared is None else [r.uid for r in shared.all(scope) if r.uid in gone or matches(r)]
        if shared is not None:
            shared.drop(copied)
        erased = store.delete(space, gone)
        copies = Counter(row.kind for row in erased)
        copies["shared"] = len(copied)
        copies["history"] = erase_changes(store.database, gone, facts, needle)
        if store.database.has_table("messages"):
            copies["messages"] = connection.execute(
                "delete from messages where session_scope = ? and (? or contains(content, ?))",
                (_mem0_session(scope), everything, needle),
            ).rowcount
    complete = not any(copies.values()) or _rewritten(store)
    ids = dict.fromkeys((*(row.uid for row in erased), *copied))
    return Receipt(tuple(ids), copies=dict(copies), complete=complete)


def _rewritten(store: Store) -> bool:
    try:
        return store.database.erase()
    except StoreUnavailable:
        # The rows are gone for good; what is left of them in the file goes with the next rewriting.
        return False


def _mem0_session(scope: Scope) -> str:
    """How mem0 names this scope in its table of messages, from ids that we encoded before."""
    agent, user = (quote(quote(name, safe=""), safe="") for name in (scope.agent, scope.user))
    return f"agent_id={agent}&user_id={user}"


def _all(store: Store, space: str) -> Iterator[Row]:
    last = 0
    while rows := store.page(space, last):
        yield from rows
        last = rows[-1].id
