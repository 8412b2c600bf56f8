"""Answers for a person who wrote them down beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from corral.policy import Approval, ApprovalRequest, SecurityPolicy, compile_pattern

__all__ = ["WrittenConsent"]


class WrittenConsent:
    """Agrees to what asks, where its resource fits a pattern; says no to the rest.

    Args:
        patterns: Resources as rules write them, such as "tool:files/*".

    Raises:
        ValueError: A pattern is not a resource.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            SecurityPolicy(resource=pattern, actions=["*"])
        self._fits = [compile_pattern(pattern) for pattern in patterns]

    async def decide(self, request: ApprovalRequest) -> Approval:
        agreed = any(fits(request.action.resource) for fits in self._fits)
        reason = "" if agreed else f"nobody agreed beforehand; corral run: --yes-to {request.action.resource}"
        return Approval(request.digest, agreed, "user:local", reason)
