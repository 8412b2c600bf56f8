"""Foreign coroutines that can be left: one that ignores its cancellation must not hold whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import anyio

__all__ = ["run_and_leave"]

T = TypeVar("T")

_GRACE: Final = 1.0
"""Seconds that a cancelled coroutine has to tidy up."""


async def run_and_leave(work: Coroutine[Any, Any, T], name: str) -> T:
    """What `work` returns, run as a task of its own; when this is cancelled, so is `work`, and waited for a while.

    What goes on after that, as with `except BaseException: pass` in a loop, goes on alone, and its end is not told.
    """
    task = asyncio.create_task(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            task.add_done_callback(_look_at)
            with anyio.CancelScope(shield=True):
                await asyncio.wait((task,), timeout=_GRACE)
        raise


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error that nobody asked for is reported by asyncio."""
    if not task.cancelled():
        task.exception()
