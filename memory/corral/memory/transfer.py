"""Export and import: a namespace as lines of JSON, without loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from corral.memory.episodes import Redactor, clean
from corral.memory.facts import Facts
from corral.memory.labels import pack_label, unpack_label
from corral.memory.scope import Scope
from corral.memory.store import Row, Store
from corral.memory.turn import Receipt
from corral.policy import Label

if TYPE_CHECKING:
    from corral.memory.search import Search

__all__ = ["export_page", "import_lines"]

_BATCH = 200
_JSON = TypeAdapter(dict[str, Any])


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


def export_page(store: Store, scope: Scope, after: int) -> tuple[list[dict[str, Any]], int]:
    """The next lines past the place `after`, and the place to go on from; no lines at the end."""
    rows = store.page(store.space(scope), after, kinds=("episode", "fact"))
    return [_line(row) for row in rows], rows[-1].id if rows else after


def import_lines(
    store: Store,
    search: Search,
    facts: Facts,
    lines: Iterable[str | Mapping[str, Any]],
    scope: Scope,
    *,
    label: Label | None,
    redact: Redactor | None,
) -> Receipt:
    """Add what an export holds; lines that are ill-formed, empty or there already are skipped and counted."""
    added: list[str] = []
    count = 0
    batch: list[Row] = []
    for line in lines:
        count += 1
        row = _parse(line, label, redact)
        if row is not None:
            batch.append(row)
        if len(batch) == _BATCH:
            added += _add(store, search, facts, batch, scope)
            batch = []
    added += _add(store, search, facts, batch, scope)
    return Receipt(tuple(added), skipped=count - len(added))


def _line(row: Row) -> dict[str, Any]:
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
    )
    return line.model_dump()


def _parse(line: str | Mapping[str, Any], cap: Label | None, redact: Redactor | None) -> Row | None:
    try:
        read = Line.model_validate_json(line) if isinstance(line, str) else Line.model_validate(line)
        label = unpack_label(_JSON.dump_json(read.label).decode())
    except (ValidationError, ValueError):
        return None
    text = clean(read.text, redact)
    if not text:
        return None
    return Row(
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


def _add(store: Store, search: Search, facts: Facts, rows: Sequence[Row], scope: Scope) -> list[str]:
    if not rows:
        return []
    vectors = search.packed([row.text for row in rows])
    complete = [
        replace(row, vector=vector, extra=facts.payload(row, scope) if row.kind == "fact" else {})
        for row, vector in zip(rows, vectors, strict=True)
    ]
    return store.add_new(store.space(scope), complete, search.number)
