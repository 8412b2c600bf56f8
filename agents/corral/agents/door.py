"""The sync door: one event loop in a background thread, for callers that have none or must not block theirs."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["run_in_background"]

T = TypeVar("T")

_LONGEST_END = 20.0
"""Seconds that a cancelled call may take to put things away."""


class _Door:
    """Starts its loop at the first use, in a thread that ends with the interpreter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None

    def portal(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                opened = start_blocking_portal()
                self._portal = opened.__enter__()
                atexit.register(opened.__exit__, None, None, None)
            return self._portal


@dataclass(frozen=True)
class _Raised:
    """What neither a caller nor a loop survives, such as SystemExit: for the caller alone."""

    error: BaseException


# The one thing of ours that belongs to the process: a loop, like its main thread. It is made when first used.
_door = _Door()


def run_in_background(fn: Callable[[], Awaitable[T]]) -> T:
    """Await `fn()` on the background loop and return its result; context variables of the caller are kept.

    Ctrl-C in the caller cancels it there and waits for its end.
    """
    context = contextvars.copy_context()
    portal = _door.portal()
    ended = threading.Event()

    async def in_context() -> T | _Raised:
        try:
            for variable, value in context.items():
                if variable.get(None) is not value:
                    variable.set(value)
            return await fn()
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001
            return _Raised(error)  # raised here it would end the loop, and with it every other call
        finally:
            ended.set()

    future = portal.start_task_soon(in_context)
    try:
        result = future.result()
    except BaseException:
        if not future.done() and future.cancel():
            ended.wait(_LONGEST_END)
        raise
    if isinstance(result, _Raised):
        raise result.error
    return result
