"""Pictures, sounds and files, as tools return them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final, Self

__all__ = ["Media", "shown_size"]

_PICTURES: Final = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, sound or file; `str` tells of it in words, such as "[image image/png, 12 kB]".

    A function of yours returns one, or a list with some in it: `return Media.of(png, "image/png")`.

    Attributes:
        media_type: RFC 6838, such as "image/png"; what the tool says, not what anyone has checked.
        data: Base64.
    """

    media_type: str
    data: str = field(repr=False)

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Self:
        """What these bytes are."""
        return cls(media_type, base64.b64encode(data).decode("ascii"))

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data) * 3 // 4 - self.data[-2:].count("=")

    def is_picture(self, most_bytes: int) -> bool:
        """Whether it is base64 of a PNG, JPEG, GIF or WebP by its first bytes, of at most `most_bytes`.

        Model servers refuse the whole prompt for a picture that is none.
        """
        magic = _PICTURES.get(self.media_type)
        if magic is None or not 0 < self.size <= most_bytes:
            return False
        try:
            return base64.b64decode(self.data, validate=True).startswith(magic)
        except (binascii.Error, ValueError):
            return False

    def __str__(self) -> str:
        kind = self.media_type.partition("/")[0]
        return f"[{kind if kind in ('image', 'audio', 'video') else 'file'} {self.media_type}, {shown_size(self.size)}]"


def shown_size(size: int) -> str:
    """Bytes, for people and models: "12 kB"."""
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
