"""Long texts that are kept out of memory: in unnamed files that go with them."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

__all__ = ["LongText", "Span"]

_PART: Final = 1 << 20
"""Bytes that are read at a time."""
_MAX_BYTES_A_CHARACTER: Final = 4

Span: TypeAlias = tuple[int, int, str]
"""From, to, and what stands there instead."""


class LongText:
    """A text in a file without a name, only its owner's, which is gone when nobody holds this any more.

    `str` reads it whole: then it takes its length in memory once, and not twice. Where the folder of temporary files is
    itself in memory (tmpfs), so is this; TMPDIR names another. One thread at a time uses it.

    Args:
        parts: What it begins with.
    """

    def __init__(self, parts: Iterable[str] = ()) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as this lives
        self._length = 0
        for part in parts:
            self.add(part)

    def add(self, part: str) -> None:
        """Write on at its end.

        Raises:
            OSError: The disk is full, or the like.
        """
        left = memoryview(part.encode("utf-8", "surrogatepass"))
        self._file.seek(0, os.SEEK_END)
        while left:
            left = left[self._file.write(left) :]
        self._length += len(part)

    def parts(self) -> Iterator[str]:
        """All of it, about a megabyte at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        at = 0
        while data := self._read(at, _PART):
            at += len(data)
            if part := decoder.decode(data):
                yield part

    def head(self, length: int) -> str:
        """Its first characters."""
        data = self._read(0, length * _MAX_BYTES_A_CHARACTER)
        return codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(data)[:length]

    def tail(self, length: int) -> str:
        """Its last characters."""
        end = self._file.seek(0, os.SEEK_END)
        start = max(0, end - length * _MAX_BYTES_A_CHARACTER)
        data = self._read(start, end - start)
        while data and data[0] & 0b1100_0000 == 0b1000_0000:  # the rest of a character
            data = data[1:]
        return data.decode("utf-8", "surrogatepass")[-length:] if length else ""

    def rewritten(self, find: Callable[[str], Iterable[Span]], reach: int) -> LongText:
        """This with what `find` finds replaced, looked for in parts; itself, if there is nothing.

        Args:
            find: The places in a part, in order and without overlap.
            reach: Characters of the longest find: so much of a part is looked at again with the next one.
        """
        new, changed, held = LongText(), False, ""
        for part in self.parts():
            held += part
            spans = list(find(held))
            cut = max(0, len(held) - reach)
            for start, end, _ in spans:
                if start < cut < end:
                    cut = start
            changed |= new._put(held[:cut], (span for span in spans if span[1] <= cut))
            held = held[cut:]
        changed |= new._put(held, find(held))
        return new if changed else self

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def _put(self, text: str, spans: Iterable[Span]) -> bool:
        at, changed = 0, False
        for start, end, instead in spans:
            self.add(text[at:start] + instead)
            at, changed = end, True
        self.add(text[at:])
        return changed

    def __del__(self) -> None:
        self._file.close()

    def __str__(self) -> str:
        text = ""
        for part in self.parts():
            text += part  # grows in place, as nobody else holds it: joining the parts would take twice the length
        return text

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<LongText of {self._length} characters>"
