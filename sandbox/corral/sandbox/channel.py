"""A socket to something in the container, on the event loop: frames out, frames in, and word when it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

from corral.sandbox.errors import SandboxProtocolError
from corral.sandbox.sandbox import Json
from corral.sandbox.wire import Decoder, Frame, encode

__all__ = ["Channel"]

CHUNK = 256 * 1024
LINGER, VAIN = 150e-6, 16
FIRST_LINGER = 400e-6
BACKLOG = 1024**2
"""Bytes that may wait to be sent before we stop reading: a guest that asks and never listens gets no more answers."""


class Channel:
    """Sends and receives frames over a non-blocking socket, which it owns.

    Plain callbacks of the event loop rather than asyncio's streams: a warm cell is one write and one read.

    Args:
        receive: Called for each frame.
        lost: Called once when the other end has hung up, or has broken the protocol; not after `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[[Frame], None],
        lost: Callable[[SandboxProtocolError | None], None],
        *,
        blob_limit: int,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._receive = receive
        self._lost = lost
        self._decoder = Decoder(blob_limit)
        self._backlog = bytearray()
        self._reading = False
        self._vain = 0
        self._patience = LINGER
        self.closed = False
        self.lingers = True
        """Whether the other end writes at once, and not by way of this event loop."""
        self._loop = asyncio.get_running_loop()
        self._read(True)

    def send(self, message: Mapping[str, Json], blob: bytes = b"") -> None:
        """Send a frame, or leave it to be sent as the other end reads; on a closed channel do nothing.

        Raises:
            TypeError, ValueError: `message` is not JSON, or too large.
        """
        self.send_encoded(encode(message, blob))

    def send_encoded(self, data: bytes) -> None:
        if self.closed:
            return
        sent = 0
        if not self._backlog:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # it has hung up; reading tells
            if sent == len(data):
                return
            self._loop.add_writer(self._sock, self._writable)
        self._backlog += memoryview(data)[sent:]
        if len(self._backlog) > BACKLOG:
            self._read(False)

    def send_descriptors(self, message: Mapping[str, Json], descriptors: list[int]) -> None:
        """Send a small frame with open files; they stay ours to close."""
        data = encode(message)
        if self._backlog or socket.send_fds(self._sock, [data], descriptors) < len(data):
            raise BlockingIOError("the zygote does not listen")

    def drain(self) -> None:
        """Take in what has already come."""
        while not self.closed and self._readable():
            pass

    def expect_first(self) -> None:
        """Linger for the next frame in any case, and longer: a session's first cell finds nothing of its own in the
        processors' caches. Not where it has to have this processor to run at all.
        """
        if len(os.sched_getaffinity(0)) > 1:
            self._vain = 0
            self._patience = FIRST_LINGER

    def linger(self) -> None:
        """Take in what comes within 150 microseconds: the end of a quick cell, the next call of a loop. That spares
        the event loop a round. After it came to nothing, it is not tried for a while.
        """
        if self._vain or not self.lingers:
            self._vain -= self.lingers
            return
        until = time.perf_counter() + self._patience
        self._patience = LINGER
        while not self.closed and time.perf_counter() < until:
            if self._readable():
                return
            os.sched_yield()
        self._vain = VAIN

    def close(self) -> None:
        if self.closed:
            return
        if not self._loop.is_closed():
            self._read(False)
            self._loop.remove_writer(self._sock)
        self.closed = True
        self._sock.close()

    def _read(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._sock, self._readable)
        elif not wanted and self._reading:
            self._loop.remove_reader(self._sock)
        self._reading = wanted

    def _readable(self) -> bool:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end(None)
            return False
        try:
            for frame in self._decoder.feed(data):
                self._receive(frame)
                if self.closed:
                    return False
        except SandboxProtocolError as error:
            self._end(error)
        return True

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            self._end(None)
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.remove_writer(self._sock)
        if len(self._backlog) <= BACKLOG:
            self._read(True)

    def _end(self, error: SandboxProtocolError | None) -> None:
        self.close()
        self._lost(error)
