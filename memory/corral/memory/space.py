"""One namespace as arrays: what ranking reads of every row, kept beside the database and never ahead of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.store import Store

__all__ = ["EXACT_ROWS", "Space"]

EXACT_ROWS: Final = 5_000
"""Up to here every row is compared by its vector; beyond, by one bit of each dimension."""

_ALONE: Final = -1
_SINCE: Final = (
    "select id, session, actor, at, integrity, kind = 'fact', expires, replaced_by is not null,"
    " case embedder when ? then vector end from item"
    " where space = ? and id > ? and kind in ('episode', 'fact') order by id"
)


class Space:
    """The arrays of one namespace, by place in the store: one element a row.

    Attributes:
        ids: int64, growing.
        session: int32 codes by first appearance; -1 for facts, which stand alone.
        actor: int32 codes, see `actors`.
        month: int8, 1 to 12 (UTC).
        integrity: int8.
        fact: bool.
        expires: float64, infinite without an end.
        replaced: bool.
        order: int64, the rows session by session, each in its order; None while that is the order of the store.
        vectors: (n, dim), float32; None beyond `EXACT_ROWS`.
        bits: (n, dim / 64), uint64, the vectors' signs; None up to `EXACT_ROWS`.
    """

    def __init__(self, key: str, dim: int, embedder: int) -> None:
        self.key = key
        self._dim = dim
        self._embedder = embedder
        self._epoch = -1
        self._clear()

    def _clear(self) -> None:
        self._sessions: dict[str | None, int] = {}
        self.actors: dict[str, int] = {}
        self.ids = np.zeros(0, np.int64)
        self.session = np.zeros(0, np.int32)
        self.actor = np.zeros(0, np.int32)
        self.month = np.zeros(0, np.int8)
        self.integrity = np.zeros(0, np.int8)
        self.fact = np.zeros(0, np.bool_)
        self.expires = np.zeros(0, np.float64)
        self.replaced = np.zeros(0, np.bool_)
        self.vectors: NDArray[np.float32] | None = np.zeros((0, self._dim), np.float32)
        self.bits: NDArray[np.uint64] | None = None
        self.order: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        small = (self.ids, self.session, self.actor, self.month, self.integrity, self.fact, self.expires, self.replaced)
        return sum(array.nbytes for array in (*small, self.vectors, self.bits) if array is not None)

    def actors_of(self, rows: NDArray[np.bool_]) -> list[str]:
        """Who said any of `rows`, a bool each."""
        said = np.bincount(self.actor[rows], minlength=len(self.actors))
        return [name for name, code in self.actors.items() if said[code]]

    def refresh(self, store: Store) -> None:
        """Take in what was added since, by whichever process; start anew if anything was changed or deleted."""
        with store.database.reading() as connection:
            # One read transaction, so that the epoch and the rows are of the same moment.
            joined = connection.in_transaction
            if not joined:
                connection.execute("begin")
            try:
                epoch = connection.execute("select epoch from space where key = ?", (self.key,)).fetchone()[0]
                if epoch != self._epoch:
                    self._clear()
                last = int(self.ids[-1]) if len(self) else 0
                rows = connection.execute(_SINCE, (self._embedder, self.key, last)).fetchall()
                self._epoch = epoch
            finally:
                if not joined:
                    connection.execute("commit")
        if rows:
            self._append(rows)

    def _append(self, rows: list[tuple[Any, ...]]) -> None:
        ids, sessions, actors, at, integrity, fact, expires, replaced, vectors = zip(*rows, strict=True)
        codes = [
            _ALONE if alone else self._sessions.setdefault(name, len(self._sessions))
            for name, alone in zip(sessions, fact, strict=True)
        ]
        last = int(self.session[-1]) if len(self) else _ALONE
        self.ids = _grown(self.ids, ids)
        self.session = _grown(self.session, codes)
        self.actor = _grown(self.actor, [self.actors.setdefault(a.lower(), len(self.actors)) for a in actors])
        self.month = _grown(self.month, _months(at))
        self.integrity = _grown(self.integrity, integrity)
        self.fact = _grown(self.fact, fact)
        self.expires = _grown(self.expires, [np.inf if e is None else e for e in expires])
        self.replaced = _grown(self.replaced, replaced)
        self._append_vectors(vectors)
        in_order = all(a <= b for a, b in pairwise((last, *codes)))
        # Sessions that take turns are put apart, so that neighbours in `order` are neighbours in their session.
        self.order = None if in_order and self.order is None else np.argsort(self.session, kind="stable")

    def _append_vectors(self, blobs: tuple[bytes | None, ...]) -> None:
        empty = bytes(2 * self._dim)
        fresh = np.frombuffer(b"".join(blob or empty for blob in blobs), np.float16).reshape(-1, self._dim)
        if self.vectors is not None and len(self) <= EXACT_ROWS:
            self.vectors = _grown(self.vectors, fresh)
            return
        if self.vectors is not None:
            self.bits, self.vectors = signs(self.vectors), None
        assert self.bits is not None
        self.bits = _grown(self.bits, signs(fresh))


def signs(vectors: NDArray[np.floating]) -> NDArray[np.uint64]:
    """One bit of each dimension: (n, ceil(dim / 64)), uint64."""
    packed = np.packbits(vectors > 0, axis=1)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def _grown(array: NDArray[Any], values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """`array` with `values` at its end, in the spare room behind it if there is any."""
    size = len(array) + len(values)
    buffer = array.base
    if buffer is None or buffer.dtype != array.dtype or buffer.shape[1:] != array.shape[1:] or len(buffer) < size:
        buffer = np.empty((max(64, size * 3 // 2), *array.shape[1:]), array.dtype)
        buffer[: len(array)] = array
    buffer[len(array) : size] = values
    return buffer[:size]


def _months(at: Sequence[float]) -> NDArray[np.int64]:
    """The months of `at`, seconds since the epoch, as 1 to 12 in UTC."""
    return np.asarray(at, np.float64).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1
