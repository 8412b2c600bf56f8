"""Blocking work in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run_in_thread"]

T = TypeVar("T")


async def run_in_thread(work: Callable[[], T], name: str) -> T:
    """What `work` returns or raises, run with a copy of the caller's context variables; cancelling leaves it behind.

    `anyio.to_thread` is not used: its workers are no daemons, so that a tool that hangs would keep the whole program
    from ending (anyio 4.16).
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(deliver: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():
            deliver(outcome)

    def run() -> None:
        deliver: Callable[[Any], None]
        try:
            outcome: Any = context.run(work)
            deliver = done.set_result
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the waiting task
            outcome = RuntimeError("it raised StopIteration") if isinstance(error, StopIteration) else error
            deliver = done.set_exception
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, deliver, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
