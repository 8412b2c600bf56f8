"""Approvals: a person's answer to an action that the policy asks about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from corral.policy.action import Action
from corral.policy.judgement import GrantScope, Judgement

__all__ = ["Approval", "ApprovalRequest", "Approver"]


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person is asked.

    Attributes:
        digest: `Action.digest` of the action; the answer must carry the same one.
        judgement: Why it is asked, and by which rule.
    """

    action: Action
    judgement: Judgement
    digest: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's answer, good for one action with exactly these arguments.

    Attributes:
        digest: Copied from the request.
        by: Who answered, such as "user:local".
        reason: What the person said, if anything; the model sees it when the answer is no.
        scope: How long a yes is to be remembered; the rule that asked may shorten it.
        any_arguments: A remembered yes is for the same call with whatever arguments.
        valid_for: Seconds that a remembered yes lasts; None is without end.
        max_uses: How often a remembered yes answers.
        content: What the person filled in, by name, if the action was a form; never part of an event or the audit.
    """

    digest: str
    granted: bool
    by: str
    reason: str = ""
    scope: GrantScope = GrantScope.ONCE
    any_arguments: bool = False
    valid_for: float | None = None
    max_uses: int | None = None
    content: Mapping[str, Any] | None = None


class Approver(Protocol):
    """Someone who answers for a person. An answer for another digest, or an error, counts as no."""

    async def decide(self, request: ApprovalRequest) -> Approval: ...
