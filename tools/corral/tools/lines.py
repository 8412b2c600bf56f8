"""Lines out of a stream of bytes, in linear time and with a cap on one line's length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["LineSplitter", "Oversized"]

_EDGE: Final = 512
_ID: Final = rb'"id"\s*:\s*(\d{1,18}|"(?:[^"\\]|\\.){1,200}")'
_VERSION: Final = rb'"jsonrpc"\s*:\s*"2\.0"'
# The two orders in which the SDKs write a response; an "id" elsewhere may be part of the result.
_HEAD: Final = re.compile(rb"\s*\{\s*(?:" + _VERSION + rb"\s*,\s*)?" + _ID)
_TAIL: Final = re.compile(_ID + rb"\s*(?:,\s*" + _VERSION + rb"\s*)?\}\s*$")


@dataclass(frozen=True)
class Oversized:
    """A line past the cap, of which only the two ends were kept."""

    length: int
    head: bytes
    tail: bytes

    def request_id(self) -> int | str | None:
        """Which request this JSON-RPC response would have answered, where its ends say so."""
        match = _HEAD.match(self.head) or _TAIL.search(self.tail)
        if match is None:
            return None
        text = match[1].decode(errors="replace")
        return text[1:-1] if text.startswith('"') else int(text)


class LineSplitter:
    """Takes chunks and gives whole lines, without their end.

    Args:
        cap: Bytes of the longest line that is kept; of a longer one only the ends are.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._parts: list[bytes] = []
        self._length = 0
        self._tail = b""

    def feed(self, chunk: bytes) -> Iterator[bytes | Oversized]:
        """The lines that `chunk` completes."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start:end])
            yield self._take()
            start = end + 1
        if start < len(chunk):
            self._add(chunk[start:])

    def _add(self, part: bytes) -> None:
        if self._length <= self._cap < self._length + len(part):
            whole = b"".join((*self._parts, part))
            self._parts, self._tail = [whole[:_EDGE]], whole[-_EDGE:]
        elif self._length > self._cap:
            self._tail = (self._tail + part)[-_EDGE:]
        else:
            self._parts.append(part)
        self._length += len(part)

    def _take(self) -> bytes | Oversized:
        kept, length, tail = b"".join(self._parts), self._length, self._tail
        self._parts, self._length, self._tail = [], 0, b""
        return kept if length <= self._cap else Oversized(length, kept, tail)
