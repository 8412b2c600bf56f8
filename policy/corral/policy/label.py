"""Labels: where a value came from, and who may see it.

The lattice is that of information flow (Denning 1976; FIDES, arXiv:2505.23643): what is derived from several values is
as trusted as the least trusted of them and as confidential as the most confidential.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

__all__ = ["Confidentiality", "Integrity", "Label"]


class Integrity(IntEnum):
    """How far a value may be trusted to say what should be done; the greater, the more."""

    UNTRUSTED = 0
    """A tool, a page, a file, a memory: anyone may have written it."""
    ATTESTED = 1
    """A service vouches for who said it, not for what it says."""
    DIRECTORY = 2
    """Endorsed by an administrator, such as an address book."""
    USER = 3
    """Typed by the user, or written in the program."""


class Confidentiality(IntEnum):
    """Who may see a value; the greater, the fewer."""

    PUBLIC = 0
    PRIVATE = 1
    SECRET = 2


@dataclass(frozen=True, slots=True)
class Label:
    """The provenance of one value.

    Attributes:
        sources: Where it came from, as resource names such as "tool:mail/read"; empty for the user's own text.
        readers: Principals who may see it; None means anyone that `confidentiality` admits.
    """

    integrity: Integrity = Integrity.UNTRUSTED
    confidentiality: Confidentiality = Confidentiality.PUBLIC
    sources: frozenset[str] = frozenset()
    readers: frozenset[str] | None = None

    @classmethod
    def user(cls) -> Label:
        """The label of what the user typed."""
        return _USER

    @classmethod
    def untrusted(cls, source: str) -> Label:
        """The label of what `source` returned, when nobody endorsed it."""
        return cls(sources=frozenset((source,)))

    def join(self, other: Label) -> Label:
        """The label of a value derived from both."""
        if self == other:
            return self
        if self.readers is None or other.readers is None:
            readers = other.readers if self.readers is None else self.readers
        else:
            readers = self.readers & other.readers
        return Label(
            min(self.integrity, other.integrity),
            max(self.confidentiality, other.confidentiality),
            self.sources | other.sources,
            readers,
        )

    @classmethod
    def join_all(cls, labels: Iterable[Label]) -> Label:
        """The label of a value derived from all of them; from none, it is the user's own."""
        joined = _USER
        for label in labels:
            joined = joined.join(label)
        return joined

    def to_json(self) -> list[Any]:
        """It as JSON values, which `from_json` reads."""
        readers = None if self.readers is None else sorted(self.readers)
        return [self.integrity.name, self.confidentiality.name, sorted(self.sources), readers]

    @classmethod
    def from_json(cls, data: Any) -> Label:
        """The label that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        integrity, confidentiality, sources, readers = data
        return cls(
            Integrity[integrity],
            Confidentiality[confidentiality],
            frozenset(sources),
            None if readers is None else frozenset(readers),
        )


_USER = Label(Integrity.USER)
