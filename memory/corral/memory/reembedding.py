"""Re-embedding: after a change of the embedder, old rows get vectors of the new one, in the background."""

from __future__ import annotations

import threading
from typing import Final

from corral.memory.errors import MemoryFault
from corral.memory.search import Search
from corral.memory.store import Store

__all__ = ["Reembedding"]

_BATCH: Final = 64


class Reembedding:
    """A thread that ends once no row has another embedder's vector. Until then such rows are found by their words.

    Attributes:
        failure: Why it gave up, such as an embedder that is not there; rows that it did not reach stay as they were.
    """

    def __init__(self, store: Store, search: Search) -> None:
        self._store = store
        self._search = search
        self._stop = threading.Event()
        self.failure: MemoryFault | None = None
        self._thread = threading.Thread(target=self._run, name="corral-reembedding", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for the batch that it is at."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            touched: set[str] = set()
            while not self._stop.is_set():
                batch = self._store.stale(self._search.number, _BATCH)
                touched |= {space for _, space, _ in batch}
                if not batch:
                    break
                vectors = self._search.packed([text for _, _, text in batch])
                places = [place for place, _, _ in batch]
                self._store.set_vectors(list(zip(places, vectors, strict=True)), self._search.number)
            self._store.touch(touched)
        except MemoryFault as error:
            self.failure = error
