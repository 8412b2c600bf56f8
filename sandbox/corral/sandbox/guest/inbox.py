"""Frames from the host, given to whichever thread waits for them."""

from __future__ import annotations

import select
import socket
import threading

from .interrupts import Interrupts
from .wire import Frame, Reader

__all__ = ["REQUEST", "Inbox"]

REQUEST = ""
"""The key under which the session's own loop waits; a call waits under its id."""


class Inbox:
    """One thread at a time reads for all: the first to wait, until its own frame comes."""

    def __init__(self, channel: socket.socket, interrupts: Interrupts) -> None:
        self._reader = Reader(channel)
        self._interrupts = interrupts
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._reading = threading.Lock()
        self._changed = threading.Condition()
        self._waiting = 0
        """Threads that wait for what another one reads; told of by `_changed`, which takes long where there is none."""
        self._expected = {REQUEST}
        self._kept: dict[str, Frame] = {}

    def expect(self, key: str) -> None:
        """Keep the frame for `key`, from before it can come until `wait` has returned; others are dropped."""
        self._expected.add(key)

    def wait(self, key: str) -> Frame:
        """The frame for `key`, which is expected.

        Raises:
            EOFError: The host has hung up.
            KeyboardInterrupt: The cell was interrupted while its call waited.
        """
        try:
            while True:
                if self._reading.acquire(blocking=False) or self._wait_for_turn(key):
                    frame = self._read_in_turn(key)
                else:
                    frame = self._kept.pop(key)
                if frame is not None:
                    return frame
        finally:
            if key != REQUEST:
                self._expected.discard(key)

    def _wait_for_turn(self, key: str) -> bool:
        """Wait until it is our turn to read, or another thread has read the frame for `key`: then False."""
        with self._changed:
            self._waiting += 1
            try:
                while key not in self._kept:
                    if self._reading.acquire(blocking=False):
                        return True
                    self._changed.wait(0.05)  # and look for an interrupt, which must not strike inside Condition
                    self._interruptible(key)
                return False
            finally:
                self._waiting -= 1

    def _read_in_turn(self, key: str) -> Frame | None:
        """Read one frame and end our turn; None if it was not for `key`."""
        try:
            if key in self._kept:  # another thread's last
                return self._kept.pop(key)
            frame = self._read(key)
            owner = frame[0].get("call", REQUEST)
            if owner == key:
                return frame
            if owner in self._expected:
                self._kept[owner] = frame
            return None
        finally:
            self._reading.release()
            if self._waiting:
                with self._changed:
                    self._changed.notify_all()

    def _read(self, key: str) -> Frame:
        while (frame := self._reader.take()) is None:
            if key != REQUEST:
                if self._reader.fill_soon():
                    continue
                self._interruptible(key, self._poll)
            self._reader.fill()
        return frame

    def _interruptible(self, key: str, poll: select.poll | None = None) -> None:
        """Let an interrupt strike here, where no byte can be lost by it."""
        if key == REQUEST:
            return
        try:
            self._interrupts.unmask()
            if poll is not None:
                poll.poll()
        finally:
            self._interrupts.mask()
