"""Any function, and any of mem0's embedders, as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from corral.memory.errors import EmbedderUnavailable
from corral.memory.mem0_import import importing_mem0

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CallingEmbedder", "mem0_embedder"]


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


def mem0_embedder(provider: str, config: Mapping[str, Any], *, dim: int, home: Path) -> CallingEmbedder:
    """An embedder of mem0's own list, such as "openai" or "ollama"; opened when it is first used.

    Args:
        config: As mem0 has it; `model` is part of the embedder's name.
        home: mem0's folder, inside the data folder.
    """

    @cache
    def opened() -> Any:
        with importing_mem0(home):  # heavy
            from mem0.utils.factory import EmbedderFactory

        return cast(Any, EmbedderFactory).create(provider, {"embedding_dims": dim, **config}, None)

    def embed(texts: list[str]) -> Any:
        return opened().embed_batch(texts, "add")

    return CallingEmbedder(embed, name=f"mem0-{provider}-{config.get('model') or 'default'}", dim=dim)
