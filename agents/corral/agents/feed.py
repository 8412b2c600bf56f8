"""A feed: one sink with any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from corral.policy import Event, RunFinished

__all__ = ["Feed", "Reader"]


class Feed:
    """A sink that any number of readers hear, each at its own pace and in its own event loop; none holds a run up.

    One of an agent's `sinks`, for those who come and go while runs go on, such as the clients of a server.
    """

    def __init__(self) -> None:
        self._readers: tuple[Reader, ...] = ()

    def emit(self, event: Event) -> None:
        for reader in self._readers:
            reader.hear(event)

    def read(self, run_id: str | None = None) -> Reader:
        """A reader, from now on, in the running event loop: of one run, up to its end, or of all until it is closed.

        Use it as a context manager, or close it; until then what it has not taken is kept for it.
        """
        reader = Reader(self, run_id)
        self._readers = (*self._readers, reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Nothing more for this reader."""
        self._readers = tuple(one for one in self._readers if one is not reader)

    def __deepcopy__(self, memo: dict[int, Any]) -> Feed:
        # DSPy's optimisers copy agents: the copies are heard by the same readers.
        return self


class Reader(AsyncIterator[Event]):
    """Events as they happened; `Feed.read` makes it."""

    def __init__(self, feed: Feed, run_id: str | None) -> None:
        self._feed = feed
        self._run_id = run_id
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._ended = False

    def hear(self, event: Event) -> None:
        """Keep an event for the reader; from any thread."""
        if self._run_id is not None and event.run_id != self._run_id:
            return
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:  # its loop is closed, and so nobody reads
            self._feed.leave(self)

    def _take(self, event: Event) -> None:
        self._queue.put_nowait(event)
        if self._run_id is not None and isinstance(event, RunFinished):
            self.close()

    def close(self) -> None:
        """Hear no more; what is kept can still be read. Closing twice is fine."""
        self._feed.leave(self)
        self._queue.put_nowait(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __anext__(self) -> Event:
        event = None if self._ended else await self._queue.get()
        if event is None:
            self._ended = True
            raise StopAsyncIteration
        return event
