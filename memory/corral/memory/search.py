"""Search in one namespace: the store's words, the arrays' vectors, ranked together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.bm25 import bm25
from corral.memory.clues import read_clues
from corral.memory.embedder import Embedder
from corral.memory.errors import EmbedderUnavailable
from corral.memory.ranking import Found, Query, rank
from corral.memory.space import Space
from corral.memory.store import Store

__all__ = ["Search", "pack_vector"]

_MAX_CACHE_BYTES: Final = 512 * 1024 * 1024

_WEIGHTY: Final = 0.1
"""From this weight on it matters how alike the best of a large namespace are, and their vectors are read."""


def pack_vector(vector: Sequence[float] | NDArray[np.floating]) -> bytes:
    """A vector as it is stored: float16."""
    return np.asarray(vector, np.float16).tobytes()


class Search:
    """Ranks the rows of any namespace; the arrays of those used last stay in memory, up to 512 MiB."""

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder
        self._number: int | None = None
        self._spaces: OrderedDict[str, Space] = OrderedDict()
        self._lock = threading.Lock()
        self._embedding = threading.Lock()

    @property
    def name(self) -> str:
        return f"{self._embedder.name}/{self._embedder.dim}"

    @property
    def floor(self) -> float:
        """The cosine above which two texts have something in common."""
        return self._embedder.floor

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def number(self) -> int:
        """The embedder's number in the store."""
        if self._number is None:
            self._number = self._store.embedder(self._embedder.name, self._embedder.dim)
        return self._number

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors: (n, dim), float32.

        Raises:
            EmbedderUnavailable: It failed, or gave another shape than it promised.
        """
        with self._embedding:
            vectors = self._embedder.embed(texts)
        if vectors.shape != (len(texts), self._embedder.dim):
            shape = (len(texts), self._embedder.dim)
            raise EmbedderUnavailable(f"embedder {self._embedder.name} gave {vectors.shape}, not {shape}")
        return vectors

    def packed(self, texts: Sequence[str]) -> list[bytes]:
        """Vectors of `texts` as they are stored."""
        return [pack_vector(vector) for vector in self.embed(texts)]

    def find(
        self, key: str, query: str, limit: int, *, now: float, untrusted: bool, facts_only: bool
    ) -> list[tuple[int, Found]]:
        """The best rows of the space `key`, best first; they and those beside them as places in the store.

        Args:
            now: What expired before is not found.
            untrusted: Whether quarantined rows may be found.
        """
        vector = self.embed([query])[0]
        with self._lock:
            space = self._space(key)
            space.refresh(self._store)
            view = space.view(now, untrusted=untrusted, facts_only=facts_only)
            if not view.count:
                return []
            # Only those who said something that may be found: a page can't make a word of the query a name.
            clues = read_clues(query, space.actors_of(view))
            lexical = bm25(space, self._store, clues.terms, untrusted=untrusted)
            weight, floor = self._embedder.weight, self._embedder.floor
            exact = partial(self._cosines, space, vector) if weight >= _WEIGHTY else None
            found = rank(space, Query(clues, lexical, vector, view, weight, floor, exact), limit)
            ids = space.ids
            return [(int(ids[one.index]), replace(one, beside=tuple(ids[list(one.beside)].tolist()))) for one in found]

    def _cosines(self, space: Space, vector: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.float32]:
        places: list[int] = space.ids[rows].tolist()
        blobs = self._store.vectors(places, self.number)
        empty = bytes(2 * vector.size)
        stored = np.frombuffer(b"".join(blobs.get(place) or empty for place in places), np.float16)
        return np.einsum("nd,d->n", stored.reshape(-1, vector.size).astype(np.float32), vector)

    def _space(self, key: str) -> Space:
        space = self._spaces.get(key)
        if space is None:
            space = self._spaces[key] = Space(key, self._embedder.dim, self.number)
        self._spaces.move_to_end(key)
        while len(self._spaces) > 1 and sum(s.nbytes for s in self._spaces.values()) > _MAX_CACHE_BYTES:
            self._spaces.popitem(last=False)
        return space
