"""Guidance: the AGENTS.md of a project, read when the program asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corral.agents.errors import DefinitionError
from corral.policy import Integrity, Label

__all__ = ["Guidance"]

_MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Guidance:
    """What a project says to agents; it stands in the system prompt.

    Whoever asks for it endorses it: values that it states count as a directory's, not as the user's.
    """

    text: str
    source: str

    @classmethod
    def read(cls, path: str | Path) -> Guidance:
        """The file, or the AGENTS.md of a folder.

        Raises:
            DefinitionError: There is none, it is no text, or it has more than 64 KiB.
        """
        place = Path(path)
        file = place / "AGENTS.md" if place.is_dir() else place
        try:
            data = file.read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError(f"{file} can't be read: {error}") from None
        if len(data) > _MOST_BYTES:
            raise DefinitionError(f"{file} has {len(data)} bytes; at most 64 KiB may be in every prompt")
        return cls(text.strip(), f"file:{file.name}")

    @property
    def label(self) -> Label:
        """Of its text."""
        return Label(Integrity.DIRECTORY, sources=frozenset((self.source,)))

    @property
    def prompt(self) -> str:
        """What the system prompt says of it."""
        return f"The project says to agents:\n{self.text}"
