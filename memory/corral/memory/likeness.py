"""Likeness: whether two facts say the same."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["say_the_same"]

_ALIKE: Final = 0.92
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_NEGATION: Final = re.compile(
    r"\b(?:not?|never|none|nobody|nothing|neither|nor|without|except|stopped|quit|no longer|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)


def say_the_same(one: str, other: str, vectors: NDArray[np.float32]) -> bool:
    """Whether `one` and `other`, whose vectors these are, are near-duplicates.

    Texts that differ in a number or in a negation are never the same, however alike their vectors.
    """
    if sorted(_NUMBER.findall(one)) != sorted(_NUMBER.findall(other)):
        return False
    if len(_NEGATION.findall(one)) != len(_NEGATION.findall(other)):
        return False
    return float(np.dot(vectors[0], vectors[1])) >= _ALIKE
