"""One memory as stored."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corral.memory.labels import unpack_label
from corral.policy import Label

__all__ = ["COLUMNS", "Row", "read_row", "unpack_vector"]

COLUMNS = "id, uid, kind, session, run, actor, at, text, label, expires, replaced_by, cites, extra"
"""What `read_row` takes, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """An episode or a fact, or what mem0 keeps for itself.

    Attributes:
        id: Its place in the store, growing with time; 0 before it is stored.
        kind: "episode", "fact", or a collection that mem0 keeps for itself.
        vector: float16 bytes; None as read back.
        extra: mem0's own payload of a fact.
    """

    kind: str
    actor: str
    at: float
    text: str
    label: Label
    session: str | None = None
    run: str | None = None
    expires: float | None = None
    replaced_by: str | None = None
    cites: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    vector: bytes | None = None
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    id: int = 0


def read_row(values: tuple[Any, ...]) -> Row:
    """The row that a query for `COLUMNS` found."""
    id, uid, kind, session, run, actor, at, text, label, expires, replaced_by, cites, extra = values
    # Most rows have neither, and parsing is what takes time here.
    cited: list[str] = [] if cites == "[]" else json.loads(cites)
    payload: dict[str, Any] = {} if extra == "{}" else json.loads(extra)
    return Row(
        *(kind, actor, at, text, unpack_label(label), session, run, expires, replaced_by),
        *(tuple(cited), payload, None, uid, id),
    )


def unpack_vector(vector: bytes) -> list[float]:
    """The numbers of a vector as it is stored: float16."""
    return list(struct.unpack(f"<{len(vector) // 2}e", vector))
