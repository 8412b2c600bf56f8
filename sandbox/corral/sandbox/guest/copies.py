"""Copies of a session: one asleep, in case the session dies under its next cell, and branches that live beside it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal

from .libc import read
from .link import Link
from .seccomp import CLONE, MACHINES

__all__ = ["Checkpoint", "copy"]

CLONE_PARENT = 0x8000

_clone = ctypes.PyDLL(None, use_errno=True).syscall  # PyDLL keeps the interpreter's lock over the call
_clone.restype = ctypes.c_long


def copy() -> int:
    """fork(2), but the copy is the zygote's child like the session itself: 0 in the copy.

    The cell's own `os.wait()` must not meet a child that the cell did not make, and the zygote has to learn when a copy
    dies. What Python does around a fork is done; what libc does (it would hold malloc's locks still) is not, so that a
    copy of a session with busy threads may hang. The host then gives it up.

    Raises:
        OSError: No process is to be had.
    """
    if platform.machine() not in MACHINES:
        raise OSError("no system call table for this machine")
    column, _ = MACHINES[platform.machine()]
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _clone(CLONE[column], CLONE_PARENT | signal.SIGCHLD, None, None, None, None)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone: " + os.strerror(ctypes.get_errno()))
    return pid


class Checkpoint:
    """At most one sleeping copy of a session.

    Args:
        most_bytes: A session that holds more memory of its own is not copied; 0 copies none.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pipe: int | None = None
        """A byte into it retires the copy; when it is closed without one, the session has died."""

    @property
    def taken(self) -> bool:
        return self._pipe is not None

    def take(self, link: Link) -> list[int] | None:
        """Put the copy that sleeps out, if there is one, and make another, if that is possible.

        Returns:
            None in the session. In the copy, after the session has died and the host has asked for it: the descriptors
            of its link.
        """
        if not self._most_bytes:
            return None
        self.retire()
        if _own_bytes() > self._most_bytes:
            return None
        ours, writer = os.pipe()
        try:
            pid = copy()
        except OSError:  # full of processes: the next cell runs without a copy
            os.close(ours)
            os.close(writer)
            return None
        if pid == 0:
            os.close(writer)
            return _sleep(ours, link)
        os.close(ours)
        self._pipe = writer
        return None

    def retire(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # it is gone already
                os.write(self._pipe, b"x")
        self.forget()

    def forget(self) -> None:
        """In a copy: the other copy belongs to the original."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = None


def _sleep(pipe: int, link: Link) -> list[int]:
    """Wait for the session's death, end what it left running, and wait for the host."""
    try:
        session = os.getpgrp()
        os.setsid()
        link.let_go()
        if os.read(pipe, 1):
            os._exit(0)
        os.close(pipe)
        while True:
            message, descriptors = link.receive_passed()
            if message["op"] == "resume":
                break
            for descriptor in descriptors:
                os.close(descriptor)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if message["alone"]:
                os.kill(-1, signal.SIGKILL)
            else:
                os.killpg(session, signal.SIGKILL)
    except BaseException:  # noqa: BLE001 - a copy must never go on as if it were the session
        os._exit(0)
    link.passing.close()
    return descriptors


def _own_bytes() -> int:
    """Memory that a copy would come to share and, as either writes, double."""
    try:
        _, resident, shared, *_ = read("/proc/self/statm").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
