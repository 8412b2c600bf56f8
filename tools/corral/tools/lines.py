"""Lines out of a stream of bytes, in linear time, with a cap on one line's length, and without long lines in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from corral.tools.long_strings import LONG, Sieve
from corral.tools.long_text import LongText

__all__ = ["LineSplitter", "Oversized", "Sieved", "Unreadable"]

_EDGE: Final = 512
_PIECE: Final = 1 << 16
_ID: Final = rb'"id"\s*:\s*(\d{1,18}|"(?:[^"\\]|\\.){1,200}")'
_VERSION: Final = rb'"jsonrpc"\s*:\s*"2\.0"'
# The orders in which the SDKs write a response; an "id" elsewhere may be part of the result.
_HEAD: Final = re.compile(rb"\s*\{\s*(?:" + _VERSION + rb"\s*,\s*)?" + _ID)
_TAIL: Final = re.compile(_ID + rb"\s*(?:,\s*" + _VERSION + rb"\s*)?\}\s*$")
_SURE: Final = re.compile(rb"\s*\{\s*" + _VERSION + rb"\s*,\s*" + _ID)


@dataclass(frozen=True)
class Oversized:
    """A line past the cap, of which only the two ends were kept."""

    length: int
    head: bytes
    tail: bytes

    def request_id(self, *, is_message: bool = True) -> int | str | None:
        """Which request this JSON-RPC response would have answered, where its ends say so.

        Args:
            is_message: It is a message, by all we know; otherwise it must begin like one.
        """
        match = (_HEAD.match(self.head) or _TAIL.search(self.tail)) if is_message else _SURE.match(self.head)
        if match is None:
            return None
        text = match[1].decode(errors="replace")
        return text[1:-1] if text.startswith('"') else int(text)


@dataclass(frozen=True)
class Unreadable(Oversized):
    """A long line that is no JSON, or could not be kept.

    Attributes:
        problem: Why, in a sentence without its subject.
    """

    problem: str


@dataclass(frozen=True)
class Sieved(Oversized):
    """A long line of JSON whose long strings are in files.

    Attributes:
        skeleton: The line, with names in the place of the strings.
        found: The strings by those names.
    """

    skeleton: str
    found: dict[str, LongText] = field(default_factory=dict[str, LongText])

    def restored(self) -> bytes:
        """The line as it was, but for how its long strings are escaped."""
        text = self.skeleton
        for name, long in self.found.items():
            text = text.replace(f'"{name}"', json.dumps(str(long)))
        return text.encode()


class LineSplitter:
    """Takes chunks and gives whole lines, without their end.

    Args:
        cap: Bytes of the longest line that is kept; of a longer one only the ends are.
        sieve_from: Bytes from which on a line is JSON whose long strings go into files while it arrives.
        prefix: What stands before the JSON; of a line that is long and begins otherwise, only the ends are kept.
    """

    def __init__(self, cap: int, *, sieve_from: int = LONG, prefix: bytes = b"") -> None:
        self._prefix = prefix
        self._cap = cap
        self._sieve_from = sieve_from
        self._begin()

    def feed(self, chunk: bytes) -> Iterator[bytes | Oversized]:
        """The lines that `chunk` completes."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self.add(chunk[start:end])
            yield self.take()
            start = end + 1
        if start < len(chunk):
            self.add(chunk[start:])

    def rest(self) -> bytes:
        """What came after the last line, if it is not long."""
        return b"".join(self._parts)

    def _begin(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._head = self._tail = b""
        self._sieve: Sieve | None = None
        self._problem = ""

    def add(self, part: bytes) -> None:
        """Go on with the line; `part` has no end of one, or the line is the whole stream."""
        self._length += len(part)
        if self._length <= min(self._sieve_from, self._cap):
            self._parts.append(part)
            return
        pieces = [part]
        if not self._head:
            pieces, self._parts = self._unwrapped(b"".join((*self._parts, part))), []
            self._head = pieces[0][:_EDGE]
        self._tail = (self._tail + b"".join(pieces)[-_EDGE:])[-_EDGE:]
        if self._length > self._cap:
            self._sieve = None
        self._sift(pieces)

    def _unwrapped(self, begun: bytes) -> list[bytes]:
        if begun.startswith(self._prefix):
            self._sieve, begun = Sieve(), begun[len(self._prefix) :]
        return [begun[at : at + _PIECE] for at in range(0, len(begun), _PIECE)]

    def _sift(self, pieces: list[bytes]) -> None:
        if self._sieve is None or self._problem:
            return
        try:
            for piece in pieces:
                self._sieve.feed(piece)
        except ValueError:
            self._problem = "is no JSON"
        except OSError as error:
            self._problem = f"could not be kept ({error.strerror})"

    def take(self) -> bytes | Oversized:
        """The line, which ends here."""
        try:
            return self._end()
        finally:
            self._begin()

    def _end(self) -> bytes | Oversized:
        if not self._head:
            return b"".join(self._parts)
        ends = self._length, self._head, self._tail
        if self._sieve is None:
            return Oversized(*ends)
        try:
            if not self._problem:
                return Sieved(*ends, self._sieve.end(), self._sieve.found)
        except ValueError:
            self._problem = "is no JSON"
        return Unreadable(*ends, self._problem)
