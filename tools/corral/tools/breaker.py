"""A circuit breaker: what failed several times in a row is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Breaker"]

_LONGEST: Final = 60.0


class Breaker:
    """Counts failures of one server or host; after `threshold` in a row it is open, each time for twice as long.

    Args:
        pause: Seconds that it is open at first.
        clock: Seconds that only grow.
    """

    def __init__(self, *, threshold: int = 3, pause: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._first_pause = pause
        self._clock = clock
        self._pause = pause
        self._failures = 0
        self._until = 0.0

    @property
    def time_left(self) -> float:
        """Seconds in which nothing should be tried; 0 when it is closed."""
        return max(0.0, self._until - self._clock())

    def worked(self) -> None:
        """It answered, be it with an error."""
        self._failures, self._pause, self._until = 0, self._first_pause, 0.0

    def failed(self) -> None:
        """It did not answer."""
        self._failures += 1
        if self._failures >= self._threshold:
            self._until = self._clock() + self._pause
            self._pause = min(self._pause * 2, _LONGEST)
