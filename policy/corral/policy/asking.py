"""Asking: how an ask becomes a yes or a no, by a grant given before or by a person now."""

from __future__ import annotations

import asyncio

from corral.policy.action import Action
from corral.policy.approvals import Approval, ApprovalRequest, Approver
from corral.policy.events import ApprovalAsked, ApprovalGiven, Emitter
from corral.policy.grants import Grants
from corral.policy.judgement import Judgement, Verdict

__all__ = ["Asking"]


class Asking:
    """Finds an answer to what asks. Whatever is not a clear yes to exactly this action is a no.

    Args:
        session: What a grant for the session is bound to.
        timeout: Seconds until no answer is a no.
        attended: Whether there could be someone; it changes only what a denial advises.
    """

    def __init__(
        self,
        approver: Approver | None,
        grants: Grants,
        emitter: Emitter,
        session: str,
        *,
        timeout: float | None,
        attended: bool,
    ) -> None:
        self._approver = approver
        self._grants = grants
        self._emitter = emitter
        self._session = session
        self._timeout = timeout
        self._attended = attended

    async def ask(self, action: Action, judgement: Judgement, digest: str, policy: str) -> Judgement:
        """The judgement that an answer makes of an ask: allow or deny."""
        session = self._session
        grant = None if action.for_person else self._grants.use(action, judgement, policy, session)
        if grant is not None:
            return Judgement(Verdict.ALLOW, f"{grant.by} granted it before", judgement.rule, answered_by=grant.by)
        if self._approver is None:
            why = "nobody can be asked in unattended mode"
            if self._attended:
                why = f"nobody can be asked here: pass approver=... (on the command line: --yes-to {action.resource})"
            return Judgement(Verdict.DENY, f"{judgement.reason}; {why}", judgement.rule)
        self._emitter.emit(
            ApprovalAsked(
                digest=digest,
                resource=action.resource,
                verb=action.verb,
                arguments=action.frozen().arguments,
                reason=judgement.reason,
            )
        )
        # The approver gets a copy of its own: what it does to it changes nothing that was judged.
        approval = await self._answer(self._approver, ApprovalRequest(action.frozen(), judgement, digest))
        self._emitter.emit(
            ApprovalGiven(digest=digest, granted=approval.granted, by=approval.by, reason=approval.reason)
        )
        if approval.granted and not action.for_person:
            self._grants.remember(action, judgement, approval, policy, session)
        reason = f"{approval.by} {'agreed' if approval.granted else 'refused'}"
        reason += f": {approval.reason}" if approval.reason else ""
        verdict = Verdict.ALLOW if approval.granted else Verdict.DENY
        return Judgement(verdict, reason, judgement.rule, answered_by=approval.by, content=approval.content)

    async def _answer(self, approver: Approver, request: ApprovalRequest) -> Approval:
        digest = request.digest
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                approval = await approver.decide(request)
        except asyncio.CancelledError:
            if _asked_to_stop():
                raise
            return Approval(digest, False, "nobody", "the approver was cancelled")
        except Exception as error:  # noqa: BLE001 - the approver is foreign code, and its failure is a no
            if deadline.expired():
                return Approval(digest, False, "nobody", f"no answer came within {self._timeout:g} s")
            return Approval(digest, False, "nobody", f"the approver failed with {type(error).__name__}")
        if not isinstance(approval, Approval):  # pyright: ignore[reportUnnecessaryIsInstance] - foreign code
            return Approval(digest, False, "nobody", "the approver gave no Approval")
        if approval.digest != digest:
            return Approval(digest, False, approval.by, "the answer was for another action")
        if approval.granted is not True and approval.granted is not False:  # pyright: ignore[reportUnnecessaryComparison]
            return Approval(digest, False, approval.by, "the answer was neither yes nor no")
        return approval


def _asked_to_stop() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
