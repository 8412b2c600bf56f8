"""Frames of a tunnel: all sockets of a container's sessions over one pair of pipes, where no socket can be shared.

uint8 kind | uint32 stream | uint32 length | payload. The host's side is the host's own `tunnel.py`.
"""

from __future__ import annotations

import struct

__all__ = ["CHUNK", "DATA", "DIAL", "END", "FILE", "HEAD", "LINK", "LINK_PAYLOAD", "OUTPUT", "SEAL", "ZYGOTE"]

HEAD = struct.Struct(">BII")
CHUNK = 256 * 1024
ZYGOTE = 0
"""The stream that every tunnel has."""

DATA = 1
"""Bytes of a stream; of a passing socket, one message."""

END = 2
"""No more bytes come on this stream."""

LINK = 3
"""To the guest: four new streams, whose ends go along with the next bytes of this stream."""

FILE = 4
"""To the guest: bytes of a file that is to go along."""

SEAL = 5
"""To the guest: that file is whole."""

OUTPUT = 6
"""To the host: all that an output file holds."""

DIAL = 7
"""To the host: someone has connected to the way out; a new stream."""

LINK_PAYLOAD = struct.Struct(">IIIII")
"""Streams: channel, control, output, passing; bytes of the output file."""
