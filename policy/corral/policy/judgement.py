"""What a policy says about an action, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

__all__ = ["GrantScope", "Judgement", "Verdict", "strictest"]


class Verdict(IntEnum):
    """What may happen to an action; the greater, the stricter."""

    ALLOW = 0
    ASK = 1
    DENY = 2


class GrantScope(IntEnum):
    """How long an answer to an ask may be remembered; the greater, the longer."""

    ONCE = 0
    SESSION = 1
    RESOURCE = 2
    """Until it expires or is used up, for the same resource with whatever arguments."""
    PERSISTENT = 3
    """Until it expires or is used up."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with what decided it.

    Attributes:
        rule: The id of the deciding rule; None when no rule matched and the default decided.
        reason: One sentence that may be shown to the model and to the person.
        grants: For an ask, the longest that an answer may be remembered.
        answered_by: Who answered the ask, once somebody did.
        content: What they filled in, if it was a form.
    """

    verdict: Verdict
    reason: str
    rule: str | None = None
    grants: GrantScope = GrantScope.PERSISTENT
    answered_by: str | None = None
    content: Mapping[str, Any] | None = None


def strictest(first: Judgement, *opinions: Judgement | None) -> Judgement:
    """The strictest of them, the first of equals, with the shortest grants of all that ask."""
    chosen = first
    for opinion in opinions:
        if opinion is None:
            continue
        if opinion.verdict > chosen.verdict:
            chosen = opinion
        elif opinion.verdict is Verdict.ASK and chosen.verdict is Verdict.ASK:
            both = f"{chosen.reason}; {opinion.reason}"
            chosen = replace(chosen, reason=both, grants=min(chosen.grants, opinion.grants))
    return chosen
