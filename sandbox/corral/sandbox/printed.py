"""What a cell printed, within a limit: the beginning and the end, never all of an endless stream."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Printed", "Printer"]


@dataclass(frozen=True)
class Printed:
    text: str
    truncated: bool

    @classmethod
    def of(cls, head: bytes, tail: bytes, total: int, limit: int) -> Printed:
        """`head` and `tail` of `total` bytes as one text, with what lies between cut out if `total` is past `limit`."""
        if total <= limit:
            return cls((head + tail).decode(errors="replace"), False)
        half = limit // 2
        everything = head + tail
        first, last = head[:half], everything[len(everything) - half :]
        cut = f"\n... {total - 2 * half} bytes cut ...\n"
        return cls(first.decode(errors="replace") + cut + last.decode(errors="replace"), True)


class Printer:
    """Collects text as it is printed, in memory for at most three times `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def write(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        self._total += len(data)
        room = self._limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._limit:
            del self._tail[: -self._limit]

    def printed(self) -> Printed:
        return Printed.of(bytes(self._head), bytes(self._tail), self._total, self._limit)
