"""Errors of the memory room.

    MemoryFault
    ├── StoreUnavailable        the store can't be opened or written: a full disk, no permission, locked for too long
    ├── StoreCorrupt            the file is not a store of ours, or is damaged
    ├── StoreTooNew             a newer Corral wrote it; nothing was read or changed
    ├── EmbedderUnavailable     the embedder's library, weights or service is missing or wrong
    ├── Quarantined             untrusted text was about to become a fact
    ├── NotRemembered           no memory of that id is in this namespace
    ├── WindowTooSmall          what must stay in the window is more than the budget
    ├── LongTermUnavailable     mem0 is missing, of another API, or failed
    ├── ConsolidationFailed     the model failed or did not answer as asked; nothing was lost
    └── ConsolidationBusy       somebody else consolidates the same memory at this moment

`MemoryError` is Python's own, so the base has another name.
"""

from __future__ import annotations

from pathlib import Path

from corral.memory.turn import Receipt

__all__ = [
    "ConsolidationBusy",
    "ConsolidationFailed",
    "EmbedderUnavailable",
    "LongTermUnavailable",
    "MemoryFault",
    "NotRemembered",
    "Quarantined",
    "StoreCorrupt",
    "StoreTooNew",
    "StoreUnavailable",
    "WindowTooSmall",
]


class MemoryFault(Exception):
    """Base of what this room raises."""


class _StoreFault(MemoryFault):
    problem = ""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.path} {self.problem}: {self.detail}"


class StoreUnavailable(_StoreFault):
    """The store can't be used now; what was acknowledged is still in it."""

    problem = "can't be used"


class StoreCorrupt(_StoreFault):
    """The file is damaged or is something else; move it away, and import an export if there is one."""

    problem = "is not a sound memory store"


class StoreTooNew(MemoryFault):
    """The store has a schema that this version does not know."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(path, found, known)
        self.path = path
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return f"{self.path} has schema {self.found}, this version knows up to {self.known}: upgrade corral"


class EmbedderUnavailable(MemoryFault):
    """An embedder can't work; the message says what to install or mend."""


class Quarantined(MemoryFault):
    """Untrusted text does not become a fact by itself: someone trusted must say it in their own name."""

    def __init__(self, sources: frozenset[str]) -> None:
        super().__init__(sources)
        self.sources = sources

    def __str__(self) -> str:
        sources = ", ".join(sorted(self.sources)) or "an unknown source"
        return f"text from {sources} is untrusted and can't become a fact"


class NotRemembered(MemoryFault):
    """The namespace holds no memory with this id."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid)
        self.uid = uid

    def __str__(self) -> str:
        return f"no memory {self.uid!r} here"


class WindowTooSmall(MemoryFault):
    """The pinned messages and the newest one don't fit, even clipped."""

    def __init__(self, budget: int, needed: int) -> None:
        super().__init__(budget, needed)
        self.budget = budget
        self.needed = needed

    def __str__(self) -> str:
        return f"the window has {self.budget} tokens, what must stay in it needs {self.needed}"


class LongTermUnavailable(MemoryFault):
    """mem0 could not do what was asked; episodes are not affected."""


class ConsolidationFailed(MemoryFault):
    """The rest of the episodes was not consolidated; they stay, and the next call takes them up again.

    Attributes:
        receipt: What was stored before it failed.
    """

    def __init__(self, problem: str, receipt: Receipt | None = None) -> None:
        super().__init__(problem, receipt)
        self.problem = problem
        self.receipt = receipt or Receipt()

    def __str__(self) -> str:
        return self.problem


class ConsolidationBusy(MemoryFault):
    """Another process, or another task of this one, consolidates the same memory; nothing was asked or changed."""

    def __str__(self) -> str:
        return "this memory is being consolidated already"
