"""One namespace as arrays: what ranking reads of every row, kept beside the database and never ahead of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.growing import grown
from corral.memory.postings import Postings
from corral.memory.store import Store
from corral.memory.view import View

__all__ = ["EXACT_ROWS", "Space", "signs"]

EXACT_ROWS: Final = 5_000
"""Up to here every row is compared by its vector; beyond, by one bit of each dimension."""

_ALONE: Final = -1
_BATCH: Final = 10_000
_SINCE: Final = (
    "select id, session, actor, at, integrity, kind = 'fact', expires, replaced_by is not null, words,"
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
        words: int32, how many.
        vectors: (n, dim), float32; None beyond `EXACT_ROWS`.
        bits: The vectors' signs, 64 a row in each of dim / 64 arrays of uint64; None up to `EXACT_ROWS`.
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
        self.words = np.zeros(0, np.int32)
        self.vectors: NDArray[np.float32] | None = np.zeros((0, self._dim), np.float32)
        self.bits: list[NDArray[np.uint64]] | None = None
        self._rows_of = {True: 0, False: 0}
        self._words_of = {True: 0, False: 0}
        self._views: dict[tuple[bool, bool], View] = {}
        self.postings = Postings(self._index_of)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def last(self) -> int:
        """The place of the newest row."""
        return int(self.ids[-1]) if len(self) else 0

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        small = (self.ids, self.session, self.actor, self.month, self.integrity, self.fact, self.expires, self.replaced)
        vectors = (self.vectors,) if self.vectors is not None else tuple(self.bits or ())
        views = sum(view.nbytes for view in self._views.values())
        return sum(a.nbytes for a in (*small, self.words, *vectors)) + views + self.postings.nbytes

    def size(self, untrusted: bool) -> tuple[int, float]:
        """How many rows there are, replaced and expired ones too, and how many words each has on average."""
        count = self._rows_of[True] + (self._rows_of[False] if untrusted else 0)
        words = self._words_of[True] + (self._words_of[False] if untrusted else 0)
        return count, words / max(1, count)

    def view(self, now: float, *, untrusted: bool, facts_only: bool) -> View:
        """What may be found at the moment `now`."""
        view = self._views.get((untrusted, facts_only))
        if view is None:
            view = self._views[untrusted, facts_only] = View(untrusted=untrusted, facts_only=facts_only)
        view.refresh(self, now)
        return view

    def actors_of(self, view: View) -> list[str]:
        """Who said any of what is shown, lower case."""
        return [name for name, code in self.actors.items() if code in view.actors]

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
                found = connection.execute(_SINCE, (self._embedder, self.key, self.last))
                while rows := found.fetchmany(_BATCH):
                    self._append(rows)
                self._epoch = epoch
            finally:
                if not joined:
                    connection.execute("commit")

    def _append(self, rows: list[tuple[Any, ...]]) -> None:
        ids, sessions, actors, at, integrity, fact, expires, replaced, words, vectors = zip(*rows, strict=True)
        codes = [
            _ALONE if alone else self._sessions.setdefault(name, len(self._sessions))
            for name, alone in zip(sessions, fact, strict=True)
        ]
        self.ids = grown(self.ids, ids)
        self.session = grown(self.session, codes)
        self.actor = grown(self.actor, [self.actors.setdefault(a.lower(), len(self.actors)) for a in actors])
        self.month = grown(self.month, _months(at))
        self.integrity = grown(self.integrity, integrity)
        self.fact = grown(self.fact, fact)
        self.expires = grown(self.expires, [np.inf if e is None else e for e in expires])
        self.replaced = grown(self.replaced, replaced)
        self.words = grown(self.words, words)
        trusted, counts = np.array(integrity) > 0, np.array(words)
        for level, chosen in ((True, trusted), (False, ~trusted)):
            self._rows_of[level] += int(np.count_nonzero(chosen))
            self._words_of[level] += int(counts[chosen].sum())
        self._append_vectors(vectors)

    def _append_vectors(self, blobs: tuple[bytes | None, ...]) -> None:
        empty = bytes(2 * self._dim)
        fresh = np.frombuffer(b"".join(blob or empty for blob in blobs), np.float16).reshape(-1, self._dim)
        if self.vectors is not None and len(self) <= EXACT_ROWS:
            self.vectors = grown(self.vectors, fresh)
            return
        before = [] if self.vectors is None else [signs(self.vectors)]
        if self.bits is None:
            self.bits = [np.zeros(0, np.uint64) for _ in range(-(-self._dim // 64))]
            self.vectors = None
        for more in (*before, signs(fresh)):
            self.bits = [grown(column, more[:, number]) for number, column in enumerate(self.bits)]

    def _index_of(self, places: list[int]) -> NDArray[np.int32]:
        wanted = np.array(places, np.int64)
        if self.last - int(self.ids[0]) + 1 == len(self):
            index = wanted - self.ids[0]
            return index[(index >= 0) & (index < len(self))].astype(np.int32)
        index = np.minimum(np.searchsorted(self.ids, wanted), len(self) - 1)
        # Another collection of mem0's, or written after the arrays were.
        return index[self.ids[index] == wanted].astype(np.int32)


def signs(vectors: NDArray[np.floating]) -> NDArray[np.uint64]:
    """One bit of each dimension: (n, ceil(dim / 64)), uint64."""
    packed = np.packbits(vectors > 0, axis=1)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def _months(at: Sequence[float]) -> NDArray[np.int64]:
    """The months of `at`, seconds since the epoch, as 1 to 12 in UTC."""
    return np.asarray(at, np.float64).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1
