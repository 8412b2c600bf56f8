"""What a policy says about an action, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Judgement", "Verdict"]


class Verdict(IntEnum):
    """What may happen to an action; the greater, the stricter."""

    ALLOW = 0
    ASK = 1
    DENY = 2


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with what decided it.

    Attributes:
        rule: The id of the deciding rule; None when no rule matched and the default decided.
        reason: One sentence that may be shown to the model and to the person.
    """

    verdict: Verdict
    reason: str
    rule: str | None = None
