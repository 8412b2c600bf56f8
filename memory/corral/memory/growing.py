"""Arrays that grow at their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["grown"]


def grown(array: NDArray[Any], values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """`array` with `values` at its end, in the spare room behind it if there is any."""
    size = len(array) + len(values)
    buffer = array.base
    if buffer is None or buffer.dtype != array.dtype or buffer.shape[1:] != array.shape[1:] or len(buffer) < size:
        buffer = np.empty((max(64, size * 3 // 2), *array.shape[1:]), array.dtype)
        buffer[: len(array)] = array
    buffer[len(array) : size] = values
    return buffer[:size]
