"""Facts: what a rule may ask about besides the action itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from corral.policy.budget import Budget

__all__ = ["Facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at the moment of judging, given by the host and never by the model.

    Attributes:
        session: JSON values by name, such as the channel a session came in by; `session.NAME` in rules.
        budget: What is left of it; `budget.NAME` in rules.
        now: Aware; None is the clock's own time.
    """

    session: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget: Budget | None = None
    now: datetime | None = None
