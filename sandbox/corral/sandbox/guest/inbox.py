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
        self._turn = threading.Condition()
        self._reading = False
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
                with self._turn:
                    while key not in self._kept and self._reading:
                        self._turn.wait(0.05)  # and look for an interrupt, which must not strike inside Condition
                        self._interruptible(key)
                    if key in self._kept:
                        return self._kept.pop(key)
                    self._reading = True
                frame = self._read_in_turn(key)
                if _owner(frame) == key:
                    return frame
        finally:
            if key != REQUEST:
                self._expected.discard(key)

    def _read_in_turn(self, key: str) -> Frame:
        frame = None
        try:
            frame = self._read(key)
            return frame
        finally:
            with self._turn:
                self._reading = False
                if frame is not None and (owner := _owner(frame)) != key and owner in self._expected:
                    self._kept[owner] = frame
                self._turn.notify_all()

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


def _owner(frame: Frame) -> str:
    return str(frame[0].get("call", REQUEST))
