"""How the host stops a cell: the cell's id on the control socket makes the kernel signal us, and we raise.

No thread is needed for it, a blocking call in the cell is cut short, and a word that comes late names a cell that is
no longer running, so it stops nothing.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import socket
import struct
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]

_signal: Any = importlib.import_module("_signal")
# What `signal` wraps, without its enums: they cost each cell some microseconds, and a fork of a session many pages.

F_SETOWN_EX = 15
OWNER_THREAD = 0
WORD = 16
"""Length of a cell's id on the control socket."""


class Interrupts:
    """Raises KeyboardInterrupt in the cell that the host names, and never inside our own bookkeeping.

    While `masked` (always, except when the cell's own code or an interruptible wait runs) an interrupt is remembered,
    and raised by the next `unmask`.
    """

    def __init__(self, control: socket.socket) -> None:
        self.masked = True
        self.fired = False
        self._pending = False
        self._cell = b""
        self._heard: list[bytes] = []
        """The last cells that were to be stopped: the word may come before the cell does."""
        self._control = control
        self._main = threading.get_ident()
        control.setblocking(False)
        self._handler = self._signalled  # each look at a method makes another object
        _signal.signal(_signal.SIGINT, self._handler)
        descriptor = control.fileno()
        # To this thread, not to any of the process: the one that runs the cell has to leave its system call.
        fcntl.fcntl(descriptor, F_SETOWN_EX, struct.pack("=ii", OWNER_THREAD, threading.get_native_id()))
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, _signal.SIGINT)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)

    def begin(self, cell: str) -> None:
        self._cell = cell.encode()
        if _signal.getsignal(_signal.SIGINT) is not self._handler:
            _signal.signal(_signal.SIGINT, self._handler)
        self.fired = self._pending = self._cell in self._heard

    def end(self) -> None:
        self._cell = b""

    def unmask(self) -> None:
        """From here on an interrupt is raised where it strikes; only the main thread's masking counts."""
        if threading.get_ident() != self._main:
            return
        self.masked = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def mask(self) -> None:
        if threading.get_ident() == self._main:
            self.masked = True

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        named = self._listen()
        if named is False or self.masked:
            return
        # None: nobody wrote, so the cell sent itself a SIGINT.
        self._pending = False
        raise KeyboardInterrupt

    def _listen(self) -> bool | None:
        """Whether the host named the running cell; None if it said nothing at all."""
        try:
            words = self._control.recv(4096)
        except BlockingIOError:
            return None
        named = [words[start : start + WORD] for start in range(0, len(words), WORD)]
        self._heard = named[-4:]
        if self._cell not in named:
            return False
        self.fired = self._pending = True
        return True
