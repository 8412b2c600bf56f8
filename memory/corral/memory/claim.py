"""Claims: one process at a time consolidates a namespace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from corral.memory.errors import StoreUnavailable

__all__ = ["Claim"]


class Claim:
    """A lock on an empty file beside the store. The system lets go of it when the process dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def on(cls, path: Path) -> Self | None:
        """The claim on this file, which is made; None where somebody has it. It waits for nothing.

        Raises:
            StoreUnavailable: The file can't be made.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(path, error.strerror or str(error)) from error
        try:
            import fcntl  # POSIX only, and the rest of this room is not
        except ImportError:
            return cls(descriptor)  # two may ask a model the same then; what is stored is checked before it is
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)
