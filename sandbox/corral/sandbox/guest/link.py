"""What ties a session to the host: four descriptors, and what reads and writes them."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

from .inbox import Inbox
from .interrupts import Interrupts
from .output import Output
from .wire import encode

__all__ = ["Link"]

MOST_PASSED = 64
"""Descriptors in one message; the host sends no more."""


class Link:
    """The channel for frames, the control socket for interrupts, the output file, and the socket for descriptors.

    A copy of a session takes a link of its own; the one it was copied with belongs to the original.
    """

    def __init__(self, descriptors: Sequence[int], output_bytes: int) -> None:
        channel, control, output, passing = descriptors
        self._channel = socket.socket(fileno=channel)
        self._control = socket.socket(fileno=control)
        self.passing = socket.socket(fileno=passing)
        self.output = Output(output, output_bytes)
        self.interrupts = Interrupts(self._control)
        self.inbox = Inbox(self._channel, self.interrupts)
        self._writing = threading.Lock()

    def send(self, message: dict[str, Any], blob: bytes = b"") -> None:
        data = encode(message, blob)
        with self._writing:
            self._channel.sendall(data)

    def receive_passed(self) -> tuple[dict[str, Any], list[int]]:
        """The next message on the passing socket, with its descriptors, which are the caller's to close.

        Raises:
            EOFError: The host has hung up.
        """
        data, descriptors, _, _ = socket.recv_fds(self.passing, 4096, MOST_PASSED)
        if not data:
            raise EOFError
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return json.loads(data), descriptors

    def forget(self) -> None:
        """Give up everything, in a process that is not the session: frames of two would be mixed up."""
        self.let_go()
        self.passing.close()

    def let_go(self) -> None:
        """Give up what says to the host that the session lives."""
        self._channel.close()
        self._control.close()
