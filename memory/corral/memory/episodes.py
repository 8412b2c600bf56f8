"""Episodes: turns as they were said, written at once and without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from corral.memory.rendering import strip_rendered
from corral.memory.row import Row
from corral.memory.scope import Scope
from corral.memory.store import Store
from corral.memory.turn import Receipt, Turn
from corral.policy import Label

if TYPE_CHECKING:
    from corral.memory.search import Search

__all__ = ["Redact", "clean", "write_episodes"]

Redact = Callable[[str], str]
"""What a text is replaced by before it is stored, such as one without secrets."""

_MAX_CHARS: Final = 1_000_000


def write_episodes(
    store: Store,
    search: Search,
    turns: Sequence[Turn],
    scope: Scope,
    *,
    now: float,
    expires: float | None,
    redact: Redact | None,
) -> Receipt:
    """Store `turns`, all or none; empty ones and recalled text are skipped."""
    space = store.space(scope)
    kept: list[tuple[Turn, str]] = []
    for turn in turns:
        text = clean(turn.text, redact)
        if text and not _is_recalled(store, space, text, turn.label):
            kept.append((turn, text))
    if not kept:
        return Receipt(skipped=len(turns))
    vectors = search.packed([text for _, text in kept])
    rows = [
        Row(
            "episode",
            turn.actor,
            now if turn.at is None else turn.at,
            text,
            turn.label,
            session=scope.session,
            run=scope.run,
            expires=expires,
            vector=vector,
        )
        for (turn, text), vector in zip(kept, vectors, strict=True)
    ]
    store.add(space, rows, search.number)
    return Receipt(tuple(row.uid for row in rows), skipped=len(turns) - len(rows))


def clean(text: str, redact: Redact | None) -> str:
    """`text` as it is stored: no recalled block, redacted, valid Unicode, at most a million characters."""
    text = strip_rendered(text).encode("utf-8", "replace").decode()
    if redact is not None:
        text = redact(text)
    if len(text) > _MAX_CHARS:
        half = _MAX_CHARS // 2
        text = f"{text[:half]}\n[... {len(text) - _MAX_CHARS} characters not stored ...]\n{text[-half:]}"
    return text.strip()


def _is_recalled(store: Store, space: str, text: str, label: Label) -> bool:
    """Whether this is a memory that came out of the store, on its way back in."""
    if not any(source.startswith("memory:") for source in label.sources):
        return False
    return store.alike(space, text, "episode") is not None or store.alike(space, text, "fact") is not None
