"""Any function as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from corral.memory.errors import EmbedderUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CallingEmbedder"]


class CallingEmbedder:
    """An embedder that asks `function`, such as a `dspy.Embedder` of any provider; vectors are brought to unit length.

    Args:
        function: Texts to vectors, n by `dim`, as an array or lists; blocking.
        name: Of the model, with its version; what is stored under another name is embedded anew.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Any],
        *,
        name: str,
        dim: int,
        weight: float = 0.6,
        floor: float = 0.4,
    ) -> None:
        self.name = name
        self.dim = dim
        self.weight = weight
        self.floor = floor
        self._function = function

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np  # here, so that `import corral.memory` stays light

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        try:
            vectors = np.asarray(self._function(list(texts)), np.float32)
        except Exception as error:
            raise EmbedderUnavailable(f"embedder {self.name} failed with {type(error).__name__}: {error}") from error
        if vectors.shape != (len(texts), self.dim) or not np.isfinite(vectors).all():
            raise EmbedderUnavailable(f"embedder {self.name} gave {vectors.shape}, not {(len(texts), self.dim)}")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
