"""Deadlines: a scope that is left when its time is over, where there is a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import anyio

__all__ = ["within"]

_NO_LIMIT: AbstractContextManager[object] = nullcontext()


def within(seconds: float | None) -> AbstractContextManager[object]:
    """`anyio.move_on_after`, at no cost where nothing limits the time: the loop enters two of them in each step."""
    return _NO_LIMIT if seconds is None else anyio.move_on_after(seconds)
