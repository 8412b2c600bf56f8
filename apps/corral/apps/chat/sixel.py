"""Pictures as sixels, for terminals that know nothing else: PNG decoded by hand, in 216 colours."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import groupby

__all__ = ["to_sixel"]

_MOST_PIXELS = 300_000
"""It takes about a second, in which nothing else is drawn."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Bytes of a pixel by PNG's colour type, at a depth of 8."""


def to_sixel(png: bytes) -> str | None:
    """The sequence that draws a picture; None for what is interlaced, not 8 bits deep, broken or too large.

    https://www.w3.org/TR/png-3 and VT330/VT340 Programmer Reference Manual, chapter 14.
    """
    try:
        width, rows = _decode(png)
    except (ValueError, IndexError, zlib.error, struct.error):
        return None
    colours = "".join(
        f"#{index};2;{index // 36 * 20};{index // 6 % 6 * 20};{index % 6 * 20}" for index in sorted({*b"".join(rows)})
    )
    bands = [_band(rows[top : top + 6]) for top in range(0, len(rows), 6)]
    return f'\x1bP0;1q"1;1;{width};{len(rows)}{colours}{"-".join(bands)}\x1b\\'


def _band(rows: list[bytes]) -> str:
    """Six rows: for each colour in them a line of sixels, all drawn over the same place."""
    drawn: dict[int, bytearray] = {}
    for bit, row in enumerate(rows):
        for column, index in enumerate(row):
            drawn.setdefault(index, bytearray(len(row)))[column] |= 1 << bit
    lines: list[str] = []
    for index, sixels in sorted(drawn.items()):
        runs = ((chr(63 + sixel), len(list(same))) for sixel, same in groupby(sixels))
        lines.append(f"#{index}" + "".join(f"!{count}{sixel}" if count > 3 else sixel * count for sixel, count in runs))
    return "$".join(lines)


def _decode(png: bytes) -> tuple[int, list[bytes]]:
    """The width, and each row as indexes into a cube of 6 by 6 by 6 colours.

    Raises:
        ValueError: It is a PNG that is not read here.
    """
    width = height = colour = 0
    packed, palette = b"", b""
    for kind, data in _chunks(png):
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data)
            if depth != 8 or interlaced or colour not in _CHANNELS or not 0 < width * height <= _MOST_PIXELS:
                raise ValueError("this kind of PNG is not read here")
        elif kind == b"PLTE":
            palette = data
        elif kind == b"IDAT":
            packed += data
    size = _CHANNELS[colour]
    raw = zlib.decompressobj().decompress(packed, (width * size + 1) * height)
    rows: list[bytes] = []
    before = bytes(width * size)
    for start in range(0, len(raw), width * size + 1):
        before = _unfiltered(raw[start], raw[start + 1 : start + 1 + width * size], before, size)
        rows.append(bytes(_index(before[at : at + size], colour, palette) for at in range(0, width * size, size)))
    if len(rows) != height:
        raise ValueError("it ends too early")
    return width, rows


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12


def _unfiltered(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    row = bytearray(line)
    for at in range(len(row)):
        left = row[at - size] if at >= size else 0
        corner = above[at - size] if at >= size else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        row[at] = (row[at] + guess) & 0xFF
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    near = left + up - corner
    return min((left, up, corner), key=lambda value: abs(near - value))


def _index(pixel: bytes, colour: int, palette: bytes) -> int:
    if colour == 3:
        pixel = palette[pixel[0] * 3 : pixel[0] * 3 + 3]
    red, green, blue = (pixel[0],) * 3 if colour in (0, 4) else pixel[:3]
    return (red + 25) // 51 * 36 + (green + 25) // 51 * 6 + (blue + 25) // 51
