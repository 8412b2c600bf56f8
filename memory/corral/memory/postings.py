"""Postings: which rows of a namespace have a word, kept while they are in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corral.memory.store import Store

__all__ = ["Postings"]

_MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 300
"""Bytes that an entry takes beside its array."""

_NOTHING: Final = np.zeros(0, np.int32)


class Postings:
    """The rows by word, read from the store's index once and then only what was added; those used last stay.

    Args:
        index_of: The indexes in the namespace's arrays of places in the store, those that have one.
    """

    def __init__(self, index_of: Callable[[list[int]], NDArray[np.int32]]) -> None:
        self._index_of = index_of
        self._kept: OrderedDict[str, tuple[NDArray[np.int32], int]] = OrderedDict()
        self.nbytes = 0

    def rows(self, store: Store, word: str, last: int) -> NDArray[np.int32]:
        """The rows with `word` of the index, growing: int32.

        Args:
            last: The place up to which the namespace's arrays go.
        """
        kept, upto = self._kept.pop(word, (None, 0))
        if kept is None:
            self.nbytes += _OVERHEAD
            kept = _NOTHING
        if upto < last and (fresh := store.having(word, upto)):
            found = self._index_of(fresh)
            self.nbytes += found.nbytes
            kept = np.concatenate((kept, found))
        self._kept[word] = kept, last
        while self.nbytes > _MAX_BYTES and len(self._kept) > 1:
            _, (gone, _) = self._kept.popitem(last=False)
            self.nbytes -= gone.nbytes + _OVERHEAD
        return kept
