"""Cutting a byte stream into frames, however it comes."""

import itertools
import struct

import pytest

from corral.sandbox import SandboxProtocolError
from corral.sandbox.guest import wire as guest
from corral.sandbox.wire import Decoder, encode

FRAMES = [({"op": "a"}, b""), ({"op": "b", "n": [1, "é"]}, b"\0\xff" * 5), ({"op": "c"}, b"")]
STREAM = b"".join(encode(*frame) for frame in FRAMES)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 20, len(STREAM)])
def test_frames_come_out_as_they_went_in_whatever_the_pieces(size: int) -> None:
    decoder = Decoder(100)
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == FRAMES


def test_both_sides_speak_alike() -> None:
    assert guest.encode(*FRAMES[1]) == encode(*FRAMES[1])


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 2, 101) + b"{}",
        struct.pack(">II", 2**31, 0),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"{x",
        struct.pack(">II", 4, 0) + b"\xff\xff\xff\xff",
        struct.pack(">II", 200_000, 0) + b"[" * 200_000,
        struct.pack(">II", 10_006, 0) + b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_a_frame_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(SandboxProtocolError):
        list(Decoder(100).feed(data))
    decoder = Decoder(100)
    with pytest.raises(SandboxProtocolError):
        list(itertools.chain.from_iterable(decoder.feed(data[n : n + 1000]) for n in range(0, len(data), 1000)))
