"""What the servers' clock shows, where this machine's own is wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["ServerClock"]

_TOLERANCE: Final = 5.0
"""Seconds that a server's clock may be off before what is signed follows it: `Date` has whole seconds."""


class ServerClock:
    """Seconds of the epoch, for what a server judges by its own clock (RFC 9449 §11.1, RFC 7523 §3)."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return time.time() + self._offset

    def learn(self, headers: Mapping[str, str]) -> bool:
        """Follow the `Date` of a response; whether that made a difference."""
        try:
            offset = parsedate_to_datetime(headers.get("date", "")).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return False
        if abs(offset - self._offset) <= _TOLERANCE:
            return False
        self._offset = offset
        return True
