"""Frames over a stream socket: two lengths, a JSON object, and bytes that need not be JSON.

uint32 length of the JSON | uint32 length of the bytes | JSON, UTF-8 | bytes
"""

from __future__ import annotations

import os
import socket
import struct
import time
from json import decoder, encoder
from typing import Any

__all__ = ["PROTOCOL", "Reader", "Writer", "encode"]

PROTOCOL = 1

HEAD = struct.Struct(">II")
JSON_LIMIT = 128 * 1024**2
SENT_JSON_LIMIT = 4 * 1024**2
"""What the host takes; it ends a session that sends more."""

CHUNK = 64 * 1024
LINGER, VAIN = 60e-6, 16

_scan: Any = vars(decoder.JSONDecoder())["scan_once"]
_encode: Any = vars(encoder)["c_make_encoder"](
    None, encoder.JSONEncoder().default, encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)
# What `json.loads` and `json.dumps` come to after ten functions more, each of which a session's first cell would meet
# when nothing of it is in the processor's caches.

Frame = tuple[dict[str, Any], bytes]


def encode(message: dict[str, Any], blob: bytes = b"") -> bytes:
    """One frame.

    Raises:
        TypeError, ValueError: `message` is not JSON, or too large.
    """
    try:
        body = "".join(_encode(message, 0)).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply for JSON, or holds itself") from error
    if len(body) > SENT_JSON_LIMIT:
        raise ValueError(f"{len(body)} bytes of JSON; at most {SENT_JSON_LIMIT} can be sent to the host")
    return HEAD.pack(len(body), len(blob)) + body + blob


class Reader:
    """Takes frames off a socket. Holds what has come of the next one, so a read may be given up and begun again."""

    def __init__(self, sock: socket.socket, *, descriptors: bool = False) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._vain = 0
        self._descriptors = descriptors
        self.received: list[int] = []
        """Descriptors that came along, oldest first; whoever takes one owns it."""

    def fill(self) -> None:
        """Receive once, blocking until there is something.

        Raises:
            EOFError: The host has hung up.
        """
        size = max(CHUNK, min(self._missing(), 1024**2)) if self._buffer else CHUNK
        if self._descriptors:
            data, descriptors, _, _ = socket.recv_fds(self._sock, size, 8)
            self.received.extend(descriptors)
        else:
            data = self._sock.recv(size)
        if not data:
            raise EOFError
        self._buffer += data

    def fill_soon(self) -> bool:
        """Receive what comes within 60 microseconds: the answer of a quick tool, for which it takes longer to fall
        asleep and to be woken. After it came to nothing, it is not tried for a while.
        """
        if self._vain:
            self._vain -= 1
            return False
        until = time.perf_counter() + LINGER
        while True:
            try:
                data = self._sock.recv(CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if time.perf_counter() > until:
                    self._vain = VAIN
                    return False
                os.sched_yield()
            else:
                if not data:
                    raise EOFError
                self._buffer += data
                return True

    def take(self) -> Frame | None:
        """The next frame if all of it has come."""
        buffer = self._buffer
        if len(buffer) < HEAD.size:
            return None
        json_size, blob_size = HEAD.unpack_from(buffer)
        end = HEAD.size + json_size
        if len(buffer) < end + blob_size:
            return None
        message, _ = _scan(buffer[HEAD.size : end].decode(), 0)
        blob = bytes(buffer[end : end + blob_size]) if blob_size else b""
        del buffer[: end + blob_size]
        return message, blob

    def next(self) -> Frame:
        while (frame := self.take()) is None:
            self.fill()
        return frame

    def _missing(self) -> int:
        if len(self._buffer) < HEAD.size:
            return HEAD.size - len(self._buffer)
        json_size, blob_size = HEAD.unpack_from(self._buffer)
        if json_size > JSON_LIMIT:
            raise EOFError
        return HEAD.size + json_size + blob_size - len(self._buffer)


class Writer:
    """Puts frames on a socket, whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: dict[str, Any], blob: bytes = b"") -> None:
        self._sock.sendall(encode(message, blob))
