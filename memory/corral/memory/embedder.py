"""Embedders: texts as vectors whose cosine says how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder"]


class Embedder(Protocol):
    """Whatever turns texts into vectors. Called from worker threads, by one thread at a time."""

    @property
    def name(self) -> str:
        """Which embedder it is, with its version; vectors of different names are never compared."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def weight(self) -> float:
        """How much the best cosine adds to a score, where the best BM25 adds 1."""
        ...

    @property
    def floor(self) -> float:
        """The cosine above which two texts have something in common, without a word in common."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors: (n, dim), float32, unit length, or zero for a text with nothing in it.

        Raises:
            EmbedderUnavailable: The library, the weights or the service is missing.
        """
        ...
