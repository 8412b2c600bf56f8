"""Ending all that descends from this process, where sessions have no user of their own to be known by."""

from __future__ import annotations

import contextlib
import os
import signal

from .libc import LIBC

__all__ = ["adopt_orphans", "kill_descendants"]

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 100


def adopt_orphans() -> None:
    """Whoever loses its parent becomes our child, so that nothing gets out of the tree."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants(spare: int = 0) -> None:
    """Stop every descendant but one until there is no new one, since what is stopped cannot fork; then kill them."""
    stopped: set[int] = set()
    for _ in range(ROUNDS):
        fresh = _descendants() - stopped - {spare}
        if not fresh:
            break
        for pid in fresh:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= fresh
    for pid in (stopped | _descendants()) - {spare}:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _descendants() -> set[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat") as file:
                state, parent, *_ = file.read().rpartition(")")[2].split()
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found
