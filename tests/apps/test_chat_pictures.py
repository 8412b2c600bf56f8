"""Pictures in the chat: kept as files, and drawn where a terminal draws."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from corral.apps.chat.pictures import PictureStore, Shown, inline
from corral.apps.chat.sixel import to_sixel
from corral.sandbox import Artifact, Execution
from corral.tools import Observation

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_pictures_are_kept_and_shown_where_a_terminal_shows_them(tmp_path: Path) -> None:
    class Image:
        type = "image"
        data = base64.b64encode(PNG).decode()

    class Lie(Image):
        data = base64.b64encode(b"\x1b]52;c;evil").decode()

    store = PictureStore(tmp_path / "pictures")
    observation = store.shorten("draw", Observation("[image]", contents=(Image(), Lie())))
    (picture,) = store.take()
    assert store.take() == []
    assert picture.path.read_bytes() == PNG
    assert str(picture.path) in observation.text
    assert inline(picture, {"TERM": "xterm"}) is None
    kitty = inline(picture, {"TERM": "xterm-kitty"})
    assert kitty is not None
    assert kitty.startswith("\x1b_Ga=T,f=100,m=0;iVBOR")
    iterm = inline(picture, {"TERM_PROGRAM": "iTerm.app"})
    assert iterm is not None
    assert iterm.startswith("\x1b]1337;File=inline=1;")
    assert inline(picture, {"TERM": "xterm-kitty", "TMUX": "/tmp/x"}) is None
    foot = inline(picture, {"TERM": "foot"})
    assert foot is not None
    assert foot.startswith('\x1bP0;1q"1;1;1;1#')


@pytest.mark.parametrize("filtered", range(5))
@pytest.mark.parametrize(("colour", "size"), [(2, 3), (6, 4)])
def test_a_picture_is_drawn_in_sixels(filtered: int, colour: int, size: int) -> None:
    """Two columns and seven rows: red over blue on the left, white on the right, whichever filter the PNG has."""
    red, blue, white = b"\xff\0\0\xff"[:size], b"\0\0\xff\xff"[:size], b"\xff" * size
    rows = [(red if row < 6 else blue) + white for row in range(7)]
    png = png_of(rows, filtered, colour, size)
    palette = "#5;2;0;0;100#180;2;100;0;0#215;2;100;100;100"
    assert to_sixel(png) == f'\x1bP0;1q"1;1;2;7{palette}#180~?$#215?~-#5@?$#215?@\x1b\\'
    assert to_sixel(png[:-30]) is None
    assert to_sixel(png.replace(b"IHDR\0\0\0\x02", b"IHDR\xff\xff\xff\xff")) is None


def png_of(rows: list[bytes], filtered: int, colour: int, size: int) -> bytes:
    raw, above = b"", bytes(len(rows[0]))
    for row in rows:
        raw += bytes([filtered])
        for at, value in enumerate(row):
            left, corner = (row[at - size], above[at - size]) if at >= size else (0, 0)
            near = left + above[at] - corner
            paeth = min((left, above[at], corner), key=lambda one: abs(near - one))
            raw += bytes([(value - (0, left, above[at], (left + above[at]) // 2, paeth)[filtered]) & 0xFF])
        above = row
    head = struct.pack(">IIBBBBB", len(rows[0]) // size, len(rows), 8, colour, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


async def test_figures_of_a_cell_are_kept_too(tmp_path: Path) -> None:
    class Session:
        name = "docker"

        async def execute(self, code: str, variables: object, *, timeout: float, host: object) -> Execution:
            return Execution(value=code, artifacts=(Artifact("shown-1.png", "image/png", PNG),))

    class Provider:
        name = "docker"
        instructions = "Code runs here."

        async def open(self, spec: object) -> Session:
            return Session()

    store = PictureStore(tmp_path)
    provider: Any = Shown(Provider(), store)  # pyright: ignore[reportArgumentType]
    session = await provider.open(None)
    assert (provider.instructions, session.name) == ("Code runs here.", "docker")
    assert (await session.execute("1", timeout=1.0)).value == "1"
    (picture,) = store.take()
    assert (picture.kind, picture.path.read_bytes()) == ("png", PNG)
