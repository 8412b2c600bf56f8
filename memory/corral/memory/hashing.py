"""The embedder that needs nothing: words and their parts, hashed."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from corral.memory.lexical import STOPWORDS, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Parts = tuple[NDArray[np.intp], NDArray[np.float64]]

__all__ = ["HashingEmbedder"]

_MAX_CHARS: Final = 8_192
_MAX_CACHED: Final = 20_000
"""Words whose parts are kept, at some 500 bytes each."""


class HashingEmbedder:
    """Signed hashing of words, word pairs and 3- and 4-grams of letters: no weights, no service, no meaning.

    It finds other spellings, compounds and languages written without spaces, where the word index can't.
    """

    # On LoCoMo it adds nothing to the words, and costs from 0.1 on; it is there to order what no word finds.
    weight = 0.02
    floor = 0.35

    def __init__(self, dim: int = 256) -> None:
        self.dim: Final = dim
        self.name: Final = "hashing-2"
        self._words: dict[str, _Parts] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np  # here, so that `import corral.memory` stays light

        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            said = words(text[:_MAX_CHARS])
            kept = [word for word in said if word not in STOPWORDS] or said
            if not kept:
                continue
            parts = [self._parts(word, count) for word, count in Counter(kept).items()]
            pairs = [self._slot(" ".join(pair)) for pair in pairwise(kept)]
            slots = np.concatenate([slots for slots, _ in parts] + [np.array([slot for slot, _ in pairs], np.intp)])
            values = np.concatenate([values for _, values in parts] + [np.array([sign * 0.5 for _, sign in pairs])])
            vector += np.bincount(slots, values, self.dim)
            length = math.sqrt(float(vector @ vector))
            if length:
                vector /= length
        return vectors

    def _parts(self, word: str, count: int) -> _Parts:
        """Where a word and its parts go, and with which values."""
        import numpy as np

        found = self._words.get(word)
        if found is None:
            grams = list(_grams(f"<{word}>"))
            hashed = [self._slot(part) for part in (word, *grams)]
            values = np.array([sign for _, sign in hashed])
            values[1:] /= math.sqrt(len(grams)) if grams else 1.0
            found = np.array([slot for slot, _ in hashed], np.intp), values
            if len(self._words) < _MAX_CACHED:
                self._words[word] = found
        if count == 1:
            return found
        slots, values = found
        return slots, values * (1 + math.log(count))

    def _slot(self, feature: str) -> tuple[int, float]:
        code = zlib.crc32(feature.encode("utf-8", "replace"))
        return (code >> 1) % self.dim, 1.0 if code & 1 else -1.0


def _grams(word: str) -> Iterator[str]:
    for size in (3, 4):
        for start in range(len(word) - size + 1):
            yield word[start : start + size]
