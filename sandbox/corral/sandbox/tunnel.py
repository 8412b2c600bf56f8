"""A container's sockets over its stdin and stdout, for engines that do not share this machine's file system.

Here and in the container stand socket pairs, whose far ends this and `guest/relay.py` join. What uses the near ends
(channels, workers, the zygote) works as if there were no tunnel. What comes out of it is believed no more than what
comes out of a container's own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from corral.sandbox.guest import tunnel
from corral.sandbox.guest.tunnel import HEAD

__all__ = ["Tunnel"]

DOCKER_HEAD = 8
"""Docker's own frames: uint8 stream (2 is stderr), three zeros, uint32 length."""

PAYLOAD_LIMIT = 64 * 1024**2
STREAM_BACKLOG = 64 * 1024**2
"""Bytes from a session that nobody here reads; then it is cut off."""

BACKLOG = 8 * 1024**2
"""Bytes that the engine has not taken; then no more are read here until it has."""

FILE_CHUNK = 1024**2
MOST_STREAMS = 8192


@dataclass
class _Stream:
    sock: socket.socket
    backlog: bytearray = field(default_factory=bytearray)
    output: int = -1
    """Of a passing socket: the stream of the output file, which ends with it."""
    passing: bool = False
    carrier: bool = False
    """Whether descriptors may come along with its bytes."""
    ended: bool = False
    """Whether the guest has ended its side."""
    finished: bool = False
    """Whether we have ended ours."""


class Tunnel:
    """Joins the far ends. `zygote` is the near end of the first stream, which whoever made the tunnel owns.

    Args:
        sock: Attached to the container; the tunnel closes it.
        program: Sent before all else.
    """

    def __init__(self, sock: socket.socket, program: bytes) -> None:
        self.zygote, far = socket.socketpair()
        self.dialed: Callable[[socket.socket], None] | None = None
        """Takes a socket at which someone in the container wants the way out; None refuses it."""
        self.complaint = ""
        """The last that the container said on stderr."""
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._backlog = bytearray(program)
        self._framed = bytearray()
        self._plain = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._outputs: dict[int, int] = {}
        self._next = tunnel.ZYGOTE
        self._paused = False
        self._closed = False
        self._add(tunnel.ZYGOTE, _Stream(far, carrier=True))
        self._loop.add_reader(sock, self._readable)
        self._loop.add_writer(sock, self._writable)

    def close(self) -> None:
        """Hang up: the container ends."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for number in list(self._streams):
            self._drop(number)
        for descriptor in self._outputs.values():
            os.close(descriptor)
        self._outputs.clear()

    def _add(self, number: int, stream: _Stream) -> None:
        stream.sock.setblocking(False)
        self._streams[number] = stream
        self._loop.add_reader(stream.sock, self._carry, number)

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._loop.remove_reader(stream.sock)
            self._loop.remove_writer(stream.sock)
            stream.sock.close()

    # To the container.

    def _say(self, kind: int, number: int, payload: bytes = b"") -> None:
        if self._closed:
            return
        waits = bool(self._backlog)
        self._backlog += HEAD.pack(kind, number, len(payload))
        self._backlog += payload
        if not waits:
            self._send()
            if self._backlog:
                self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._send()
        if not self._backlog and not self._closed:
            self._loop.remove_writer(self._sock)

    def _send(self) -> None:
        try:
            while self._backlog:
                del self._backlog[: self._sock.send(memoryview(self._backlog)[: 1024**2])]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._hung_up()
            return
        self._pause(len(self._backlog) > BACKLOG)

    def _pause(self, wanted: bool) -> None:
        if wanted == self._paused:
            return
        self._paused = wanted
        for number, stream in self._streams.items():
            if wanted:
                self._loop.remove_reader(stream.sock)
            elif not stream.finished:
                self._loop.add_reader(stream.sock, self._carry, number)

    def _carry(self, number: int) -> None:
        stream = self._streams[number]
        descriptors: list[int] = []
        try:
            if stream.carrier:
                data, descriptors, _, _ = socket.recv_fds(stream.sock, tunnel.CHUNK, 64, socket.MSG_CMSG_CLOEXEC)
            else:
                data = stream.sock.recv(tunnel.CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._send_along(number, stream, data, descriptors)
            self._say(tunnel.DATA, number, data)
            return
        self._say(tunnel.END, number)
        self._loop.remove_reader(stream.sock)
        stream.finished = True
        if stream.output >= 0:
            self._say(tunnel.END, stream.output)
            if (output := self._outputs.pop(stream.output, None)) is not None:
                os.close(output)
        if stream.ended or stream.passing or number == tunnel.ZYGOTE:
            self._drop(number)

    def _send_along(self, number: int, stream: _Stream, data: bytes, descriptors: list[int]) -> None:
        if not descriptors:
            return
        if stream.passing and json.loads(data)["op"] == "variables":
            for descriptor in descriptors:
                start = 0
                while chunk := os.pread(descriptor, FILE_CHUNK, start):
                    self._say(tunnel.FILE, number, chunk)
                    start += len(chunk)
                self._say(tunnel.SEAL, number)
                os.close(descriptor)
            return
        for start in range(0, len(descriptors), 4):
            self._link(number, *descriptors[start : start + 4])

    def _link(self, carrier: int, channel: int, control: int, output: int, passing: int) -> None:
        """Join the four far ends of a session."""
        first = self._next + 1
        self._next += 4
        size = os.fstat(output).st_size
        self._say(tunnel.LINK, carrier, tunnel.LINK_PAYLOAD.pack(first, first + 1, first + 2, first + 3, size))
        self._add(first, _Stream(socket.socket(fileno=channel)))
        self._add(first + 1, _Stream(socket.socket(fileno=control), passing=True))
        self._outputs[first + 2] = output
        far = _Stream(socket.socket(fileno=passing), output=first + 2, passing=True, carrier=True)
        self._add(first + 3, far)

    # From the container.

    def _readable(self) -> None:
        try:
            while not self._closed:
                data = self._sock.recv(1024**2)
                if not data:
                    self._hung_up()
                    return
                self._unframe(data)
                if not isinstance(self._sock, ssl.SSLSocket):
                    return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._hung_up()

    def _hung_up(self) -> None:
        """The zygote's near end sees it, and says so."""
        self.close()

    def _unframe(self, data: bytes) -> None:
        framed = self._framed
        framed += data
        start = 0
        while len(framed) - start >= DOCKER_HEAD:
            size = int.from_bytes(framed[start + 4 : start + 8], "big")
            end = start + DOCKER_HEAD + size
            if len(framed) < end:
                break
            payload = framed[start + DOCKER_HEAD : end]
            if framed[start] == 2:
                self.complaint = payload.decode(errors="replace").strip()[-500:] or self.complaint
            else:
                self._plain += payload
            start = end
        del framed[:start]
        self._hear()

    def _hear(self) -> None:
        plain, start = self._plain, 0
        while len(plain) - start >= HEAD.size and not self._closed:
            kind, number, size = HEAD.unpack_from(plain, start)
            end = start + HEAD.size + size
            if size > PAYLOAD_LIMIT:
                self._hung_up()  # no relay of ours says that
                return
            if len(plain) < end:
                break
            self._obey(kind, number, bytes(plain[start + HEAD.size : end]))
            start = end
        del plain[:start]

    def _obey(self, kind: int, number: int, payload: bytes) -> None:
        if kind == tunnel.OUTPUT and number in self._outputs:
            output = self._outputs[number]
            size = os.pwrite(output, payload[: os.fstat(output).st_size], 0)
            os.lseek(output, size, os.SEEK_SET)
        elif kind == tunnel.DIAL and number not in self._streams:
            self._take_dialed(number)
        elif kind == tunnel.DATA and number in self._streams:
            self._pass_out(number, self._streams[number], payload)
        elif kind == tunnel.END and number in self._streams:
            self._end(number, self._streams[number])

    def _take_dialed(self, number: int) -> None:
        if self.dialed is None or len(self._streams) > MOST_STREAMS:
            self._say(tunnel.END, number)
            return
        near, far = socket.socketpair()
        self._add(number, _Stream(far))
        self.dialed(near)

    def _pass_out(self, number: int, stream: _Stream, data: bytes) -> None:
        sent = 0
        if not stream.backlog:
            try:
                sent = stream.sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # it is closed here; reading tells
            if sent == len(data):
                return
            self._loop.add_writer(stream.sock, self._flush, number)
        stream.backlog += memoryview(data)[sent:]
        if len(stream.backlog) > STREAM_BACKLOG:
            self._say(tunnel.END, number)
            self._drop(number)

    def _flush(self, number: int) -> None:
        stream = self._streams[number]
        try:
            del stream.backlog[: stream.sock.send(stream.backlog)]
        except BlockingIOError:
            return
        except OSError:
            stream.backlog.clear()
        if not stream.backlog:
            self._loop.remove_writer(stream.sock)
            if stream.ended:
                self._end(number, stream)

    def _end(self, number: int, stream: _Stream) -> None:
        stream.ended = True
        if stream.backlog:
            return  # `_flush` comes back
        if stream.finished:
            self._drop(number)
            return
        with contextlib.suppress(OSError):
            stream.sock.shutdown(socket.SHUT_WR)
