"""What goes into a memory and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from corral.policy import Label

__all__ = ["Kind", "Pending", "Receipt", "Recollection", "Turn"]

Kind = Literal["episode", "fact"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said.

    Attributes:
        actor: "user", "agent", "tool:NAME", or the name of a person in a conversation of several.
        label: Where the text came from; the label of an agent's words is that of all it had read.
        at: Seconds since the epoch; None is the moment it is remembered.
    """

    actor: str
    text: str
    label: Label
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Recollection:
    """Something remembered, found again.

    Attributes:
        at: When it was said, seconds since the epoch.
        score: 0 to 1, comparable within one recall only; 0 for what was added as context.
        label: At most ATTESTED, with the memory among its sources: a memory vouches for who said it, not for what it
            says, so it never carries the user's own authority.
        why: What it was found by, for people.
    """

    id: str
    text: str
    kind: Kind
    actor: str
    at: float
    session: str | None
    score: float
    label: Label
    why: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a change to the memory did, once it is safely stored.

    Attributes:
        ids: The memories that were added or are gone, or those that were there already.
        skipped: How many were left out: empty, said before, recalled text, ill-formed.
        copies: After `forget`, how many rows of each kind were erased.
        complete: After `forget`, whether the bytes are gone from the files too; False while another process reads.
        turns: After `consolidate`, how many it went through with a model.
    """

    ids: tuple[str, ...] = ()
    skipped: int = 0
    copies: Mapping[str, int] = field(default_factory=dict[str, int])
    complete: bool = True
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """What was said since a memory was consolidated last.

    Attributes:
        turns: Of those that facts may be drawn from; quarantined ones and echoes of memory are none.
        more: Whether only the oldest of many were counted.
        failed_at: When a model was of no help with them, seconds since the epoch.
    """

    turns: int = 0
    more: bool = False
    failed_at: float | None = None
