"""The embedder that needs nothing: words and their parts, hashed."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from corral.memory.lexical import STOPWORDS, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HashingEmbedder"]

_MAX_CHARS: Final = 8_192
_MAX_CACHED: Final = 200_000


class HashingEmbedder:
    """Signed hashing of words, word pairs and 3- and 4-grams of letters: no weights, no service, no meaning.

    It finds other spellings, compounds and languages written without spaces, where the word index can't.
    """

    # On LoCoMo it adds nothing to the words, and costs from 0.1 on; it is there to order what no word finds.
    weight = 0.02
    floor = 0.35

    def __init__(self, dim: int = 256) -> None:
        self.dim: Final = dim
        self.name: Final = "hashing-1"
        self._slots: dict[str, tuple[int, float]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np  # here, so that `import corral.memory` stays light

        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature, weight in _features(text[:_MAX_CHARS]).items():
                slot, sign = self._slot(feature)
                vector[slot] += sign * (weight if weight < 1 else 1 + math.log(weight))
            length = math.sqrt(float(vector @ vector))
            if length:
                vector /= length
        return vectors

    def _slot(self, feature: str) -> tuple[int, float]:
        slot = self._slots.get(feature)
        if slot is None:
            code = zlib.crc32(feature.encode())
            slot = (code >> 1) % self.dim, 1.0 if code & 1 else -1.0
            if len(self._slots) < _MAX_CACHED:
                self._slots[feature] = slot
        return slot


def _features(text: str) -> dict[str, float]:
    said = words(text)
    kept = [word for word in said if word not in STOPWORDS] or said
    features: defaultdict[str, float] = defaultdict(float)
    for word in kept:
        features[word] += 1
        grams = list(_grams(f"<{word}>"))
        for gram in grams:
            features[gram] += 1 / math.sqrt(len(grams))
    for pair in pairwise(kept):
        features[" ".join(pair)] += 0.5
    return features


def _grams(word: str) -> Iterator[str]:
    for size in (3, 4):
        for start in range(len(word) - size + 1):
            yield word[start : start + size]
