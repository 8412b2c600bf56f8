"""What a cell prints: the first part goes to a sealed memory file that the host reads, the last part is kept here."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

__all__ = ["Output"]

STDOUT = 1


class _MiddleCut(io.RawIOBase):
    """Writes to descriptor 1 until that is full, then remembers only the end of what else comes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.begin()

    def begin(self) -> None:
        self.tail = bytearray()
        self.beyond = 0
        """Bytes that did not fit into the file."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return STDOUT

    def write(self, data: Any) -> int:
        size = len(data)
        written = 0 if self.beyond else _write(data)
        if written < size:
            self.beyond += size - written
            self.tail += memoryview(data)[written:]
            if len(self.tail) > 2 * self._limit:
                del self.tail[: -self._limit]
        return size


def _write(data: Any) -> int:
    try:
        return os.write(STDOUT, data)
    except PermissionError:  # the file is sealed against growing
        return 0


class Output:
    """Holds the streams of a session and puts them in place for each cell."""

    def __init__(self, descriptor: int, limit: int) -> None:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        self._limit = limit
        self._stream: io.TextIOWrapper | None = None
        """Made by the first cell: a session that waits for one is smaller without."""

    def begin(self) -> None:
        if self._stream is None:
            self._stream = self._open()
        sys.stdout = sys.stderr = self._stream
        os.lseek(STDOUT, 0, os.SEEK_SET)
        if self._raw.beyond:
            self._raw.begin()

    def end(self) -> tuple[int, int, bytes]:
        """Bytes in the file, bytes beyond it, and the last of those."""
        raw = self._raw
        try:
            if self._stream is not None:
                self._stream.flush()
            size = os.lseek(STDOUT, 0, os.SEEK_CUR)
        except (OSError, ValueError):  # the cell closed the stream or the descriptor
            self._stream = None
            size = 0
        return size, raw.beyond, bytes(raw.tail[-self._limit :]) if raw.beyond else b""

    def _open(self) -> io.TextIOWrapper:
        self._raw = _MiddleCut(self._limit)
        buffer = io.BufferedWriter(self._raw, 16 * 1024)
        return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", newline="\n", line_buffering=True)
