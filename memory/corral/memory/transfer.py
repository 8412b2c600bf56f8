"""Export and import: a namespace as lines of JSON, without loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from corral.memory.changes import FactChange, read_changes, write_changes
from corral.memory.episodes import Redact, clean
from corral.memory.facts import Facts
from corral.memory.labels import pack_label, unpack_label
from corral.memory.row import Row
from corral.memory.scope import Scope
from corral.memory.store import Store
from corral.memory.turn import Receipt
from corral.policy import Label

if TYPE_CHECKING:
    from corral.memory.search import Search

__all__ = ["export_page", "import_lines"]

_BATCH = 200
_JSON = TypeAdapter(dict[str, Any])

_Parsed = tuple[Row, list[FactChange]]


class _Change(BaseModel):
    """One entry of a fact's history."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: str
    old: str | None
    new: str | None
    at: str


class Line(BaseModel):
    """One memory of an export; vectors are made anew on import."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["corral-memory/1"] = "corral-memory/1"
    id: str = Field(min_length=1, max_length=200)
    kind: Literal["episode", "fact"]
    actor: str = Field(min_length=1)
    at: float = Field(allow_inf_nan=False, ge=-62_135_596_800, lt=253_402_300_800)
    text: str = Field(min_length=1)
    label: dict[str, Any]
    session: str | None = None
    run: str | None = None
    expires: float | None = None
    replaced_by: str | None = None
    cites: list[str] = []
    history: list[_Change] = []


def export_page(store: Store, scope: Scope, after: int) -> tuple[list[dict[str, Any]], int]:
    """The next lines past the place `after`, and the place to go on from; no lines at the end."""
    rows = store.page(store.space(scope), after, kinds=("episode", "fact"))
    changes = read_changes(store.database, [row.uid for row in rows if row.kind == "fact"])
    return [_line(row, changes.get(row.uid, ())) for row in rows], rows[-1].id if rows else after


def import_lines(
    store: Store,
    search: Search,
    facts: Facts,
    lines: Iterable[str | Mapping[str, Any]],
    scope: Scope,
    *,
    label: Label | None,
    redact: Redact | None,
) -> Receipt:
    """Add what an export holds; lines that are ill-formed, empty or there already are skipped and counted."""
    added: list[str] = []
    count = 0
    batch: list[_Parsed] = []
    for line in lines:
        count += 1
        parsed = _parse(line, label, redact)
        if parsed is not None:
            batch.append(parsed)
        if len(batch) == _BATCH:
            added += _add(store, search, facts, batch, scope)
            batch = []
    added += _add(store, search, facts, batch, scope)
    return Receipt(tuple(added), skipped=count - len(added))


def _line(row: Row, changes: Iterable[FactChange]) -> dict[str, Any]:
    line = Line.model_construct(
        id=row.uid,
        kind=row.kind,
        actor=row.actor,
        at=row.at,
        text=row.text,
        label=_JSON.validate_json(pack_label(row.label)),
        session=row.session,
        run=row.run,
        expires=row.expires,
        replaced_by=row.replaced_by,
        cites=list(row.cites),
        history=[_Change(event=one.event, old=one.old, new=one.new, at=one.at) for one in changes],
    )
    return line.model_dump()


def _parse(line: str | Mapping[str, Any], cap: Label | None, redact: Redact | None) -> _Parsed | None:
    try:
        read = Line.model_validate_json(line) if isinstance(line, str) else Line.model_validate(line)
        label = unpack_label(_JSON.dump_json(read.label).decode())
    except (ValidationError, ValueError):
        return None
    text = clean(read.text, redact)
    if not text:
        return None
    row = Row(
        kind=read.kind,
        actor=read.actor,
        at=read.at,
        text=text,
        label=label if cap is None else label.join(cap),
        session=read.session,
        run=read.run,
        expires=read.expires,
        replaced_by=read.replaced_by,
        cites=tuple(read.cites),
        uid=read.id,
    )
    return row, [
        FactChange(one.event, one.old and clean(one.old, redact), one.new and clean(one.new, redact), one.at)
        for one in read.history
    ]


def _add(store: Store, search: Search, facts: Facts, parsed: Sequence[_Parsed], scope: Scope) -> list[str]:
    if not parsed:
        return []
    vectors = search.packed([row.text for row, _ in parsed])
    complete = [
        replace(row, vector=vector, extra=facts.payload(row, scope) if row.kind == "fact" else {})
        for (row, _), vector in zip(parsed, vectors, strict=True)
    ]
    added = store.add_new(store.space(scope), complete, search.number)
    known = set(added)
    facts.share((row for row in complete if row.uid in known), scope)
    changes = {row.uid: history for row, history in parsed if history and row.uid in known}
    if changes:
        facts.prepare()
        write_changes(store.database, changes)
    return added
