"""A run as a stream of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from corral.policy import Event, Sink

__all__ = ["stream_events"]


class _Queued:
    """A sink that hands events to one reader, who may be slow: the queue has no bound."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()

    def emit(self, event: Event) -> None:
        self.events.put_nowait(event)

    def end(self, _: object) -> None:
        self.events.put_nowait(None)


async def stream_events(run: Callable[[Sink], Awaitable[object]]) -> AsyncGenerator[Event]:
    """What `run` emits into the sink that it is given; leaving the generator cancels it and waits for its end."""
    sink = _Queued()

    async def running() -> object:
        return await run(sink)

    # A task of its own: leaving the generator must cancel the run, and not the reader.
    task = asyncio.create_task(running())
    task.add_done_callback(sink.end)
    try:
        while (event := await sink.events.get()) is not None:
            yield event
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
