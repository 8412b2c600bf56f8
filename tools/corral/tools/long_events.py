"""Streams of server-sent events whose long lines of data are JSON with its long strings in files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from corral.tools.lines import LineSplitter, Oversized, Sieved, Unreadable
from corral.tools.long_strings import LongStrings

__all__ = ["sifted"]

_DATA: Final = b"data:"


async def sifted(
    stream: AsyncIterator[bytes], long: LongStrings, cap: int, refusal: Callable[[int | str, str], bytes]
) -> AsyncIterator[bytes]:
    """The stream, line by line; of a long line of data its skeleton.

    Args:
        cap: Bytes of the longest line.
        refusal: What to say, as the answer to a request, of a line that can't be taken.
    """
    lines = LineSplitter(cap, prefix=_DATA)
    ended = b""
    async for chunk in stream:
        piece = chunk[1:] if ended == b"\r" and chunk.startswith(b"\n") else chunk
        ended = chunk[-1:]
        for line in lines.feed(piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
            yield (_shortened(line, long, cap, refusal) if isinstance(line, Oversized) else line) + b"\n"
    if rest := lines.rest():
        yield rest


def _shortened(line: Oversized, long: LongStrings, cap: int, refusal: Callable[[int | str, str], bytes]) -> bytes:
    if isinstance(line, Sieved):
        try:
            value, _ = long.message(line.skeleton, dict(line.found))
            return _DATA + json.dumps(value).encode()
        except ValueError:
            return _DATA + line.restored()  # one of several lines of a message, perhaps
    is_message = not isinstance(line, Unreadable)
    problem = line.problem if isinstance(line, Unreadable) else f"is longer than {cap / 1024**2:g} MiB"
    request_id = line.request_id(is_message=is_message)
    return b":" if request_id is None else _DATA + refusal(request_id, problem)
