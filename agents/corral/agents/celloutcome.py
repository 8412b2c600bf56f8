"""What a cell came to, and whether it came to the same again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from corral.agents.errors import ReplayDiverged
from corral.agents.result import Refusal
from corral.agents.steps import Codec, json_codec
from corral.tools import Media

__all__ = ["CELL", "CellOutcome", "check_same"]


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """What a cell came to, as the model is told.

    Attributes:
        submitted: What the code handed to SUBMIT, not validated yet.
        error: How it failed, in a word.
        ran: Whether its code ran at all.
        names_kept: Whether names of earlier cells are still defined after it.
        unknown: Calls of it that were cut off by a crash, so that nobody knows what they did.
        denied: What was refused of its calls, or the cell itself.
        media: Pictures that it showed.
        printed: What it gave, if hooks made `text` of it.
    """

    text: str
    is_error: bool = False
    submitted: dict[str, Any] | None = None
    error: str | None = None
    ran: bool = True
    names_kept: bool = True
    unknown: tuple[str, ...] = ()
    printed: str | None = None
    denied: tuple[Refusal, ...] = ()
    media: tuple[Media, ...] = ()

    @property
    def own(self) -> str:
        """What it gave, whatever hooks have made of that."""
        return self.text if self.printed is None else self.printed


CELL: Codec[CellOutcome] = json_codec(CellOutcome)

_PASSING = re.compile(r"\b0x[0-9a-f]{6,16}\b|artifact='[^']*'")
"""What differs from process to process: addresses of objects, names of artifacts."""


def check_same(cell: str, before: CellOutcome, now: CellOutcome) -> None:
    """See that a cell that was run again did what it did before.

    Raises:
        ReplayDiverged: It did not, so names may have other values than the model has seen.
    """
    if before.error != now.error:
        raise ReplayDiverged(cell, f"it ended with {now.error or 'no error'}, before with {before.error or 'no error'}")
    if _PASSING.sub("", before.own) != _PASSING.sub("", now.own) or before.submitted != now.submitted:
        raise ReplayDiverged(cell, "it printed or returned something else")
