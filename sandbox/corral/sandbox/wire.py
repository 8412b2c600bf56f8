"""Frames between host and guest, as the host sees them: nothing that comes in is believed.

    uint32 length of the JSON | uint32 length of the bytes | JSON object, UTF-8 | bytes

The guest's side is `guest/wire.py`. Bytes carry file contents and printed output; everything else is JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Generator, Mapping
from typing import TypeGuard

from corral.sandbox.errors import SandboxProtocolError
from corral.sandbox.sandbox import Json

__all__ = ["PROTOCOL", "SENT_JSON_LIMIT", "Decoder", "Frame", "encode", "encode_value"]

PROTOCOL = 1
"""The version spoken here; the zygote says which ones it speaks."""

HEAD = struct.Struct(">II")
RECEIVED_JSON_LIMIT = 4 * 1024**2
SENT_JSON_LIMIT = 128 * 1024**2


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse).decode
_encode = json.JSONEncoder(separators=(",", ":")).encode

Frame = tuple[dict[str, Json], bytes]


def encode(message: Mapping[str, Json], blob: bytes = b"") -> bytes:
    """One frame.

    Raises:
        TypeError, ValueError: `message` is not JSON, or larger than 128 MiB.
    """
    body = _encode(message).encode("utf-8", "surrogatepass")
    if len(body) > SENT_JSON_LIMIT:
        raise ValueError(f"{len(body)} bytes of JSON; at most {SENT_JSON_LIMIT} can be sent")
    return HEAD.pack(len(body), len(blob)) + body + blob


def encode_value(value: Json) -> bytes:
    """One JSON value.

    Raises:
        TypeError, ValueError: It is none.
    """
    return _encode(value).encode("utf-8", "surrogatepass")


class Decoder:
    """Cuts what a guest sends into frames.

    Args:
        blob_limit: The most bytes that a frame may carry beside its JSON.
    """

    def __init__(self, blob_limit: int) -> None:
        self._blob_limit = blob_limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Generator[Frame]:
        """Every frame that is complete with `data`.

        Raises:
            SandboxProtocolError: A frame is too large, or not a JSON object.
        """
        if not self._buffer and (frame := self._whole(data)):
            yield frame
            return
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            json_size, blob_size = self._sizes(self._buffer)
            middle, end = HEAD.size + json_size, HEAD.size + json_size + blob_size
            if len(self._buffer) < end:
                return
            message = _parse(bytes(self._buffer[HEAD.size : middle]))
            blob = bytes(self._buffer[middle:end])
            del self._buffer[:end]
            yield message, blob

    def _whole(self, data: bytes) -> Frame | None:
        """`data` if it is exactly one frame without bytes, as nearly every one is."""
        if len(data) < HEAD.size:
            return None
        json_size, blob_size = self._sizes(data)
        if blob_size or len(data) != HEAD.size + json_size:
            return None
        return _parse(data[HEAD.size :]), b""

    def _sizes(self, data: bytes | bytearray) -> tuple[int, int]:
        json_size, blob_size = HEAD.unpack_from(data)
        if json_size > RECEIVED_JSON_LIMIT or blob_size > self._blob_limit:
            raise SandboxProtocolError(f"the guest sent a frame of {json_size} + {blob_size} bytes, more than allowed")
        return json_size, blob_size


def _parse(body: bytes) -> dict[str, Json]:
    try:
        message: object = _decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise SandboxProtocolError("the guest sent something that is not JSON") from error
    if not _is_object(message):
        raise SandboxProtocolError("the guest sent JSON that is not an object")
    return message


def _is_object(message: object) -> TypeGuard[dict[str, Json]]:
    return isinstance(message, dict)
