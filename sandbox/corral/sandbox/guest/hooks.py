"""What modules of the standard library have done after each fork, kept back while the zygote forks sessions.

They make locks anew that another thread may have held. The zygote has no other thread, and to run them costs a session
half a megabyte of pages that it would else share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["hold_back", "seed", "set_up"]

_held: list[dict[str, Callable[[], Any]]] = []
_register = os.register_at_fork


def hold_back() -> None:
    """Note what is registered from now on; call it before the modules are imported."""
    os.register_at_fork = lambda **hooks: _held.append(hooks)  # type: ignore[misc, assignment]


def seed() -> None:
    """In a session: give `random` a state of its own, which is one of the hooks."""
    import random  # not before `hold_back`

    generator = random.seed.__self__
    super(random.Random, generator).seed()


def set_up() -> None:
    """In a session, whose cells may have threads: register what was held back, the first time."""
    if not _held:
        return
    os.register_at_fork = _register
    for hooks in _held:
        _register(**hooks)
    _held.clear()
