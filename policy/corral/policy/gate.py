"""The gate: the one way to an effect. It judges, asks, reserves, writes down, lets happen, settles, writes down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from corral.policy.action import Action
from corral.policy.approvals import Approval, ApprovalRequest, Approver
from corral.policy.audit import Audit, AuditRecord, MemoryAudit
from corral.policy.budget import Budget, Reservation, Spend
from corral.policy.errors import BudgetExceeded, Denied, NotAdmitted
from corral.policy.events import ApprovalAsked, ApprovalGiven, Emitter
from corral.policy.judgement import Judgement, Verdict
from corral.policy.policy import Policy

__all__ = ["Admission", "Gate"]

T = TypeVar("T")

_SEAL: Final = object()


class Admission:
    """The gate's leave for one action, to be claimed once by the effect that it names.

    Only `Gate.perform` makes one. An effect takes it and calls `claim` first, so that it can't run for another
    action, with other arguments, twice, or with no gate at all.
    """

    __slots__ = ("_claimed", "action", "spent")

    def __init__(self, action: Action, seal: object) -> None:
        if seal is not _SEAL:
            raise NotAdmitted("only Gate.perform makes an Admission")
        self.action = action
        self.spent: Spend | None = None
        """What the effect really cost; None lets the reservation stand for it."""
        self._claimed = False

    def claim(self, resource: str, verb: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Use the admission up, for exactly what was judged.

        Args:
            arguments: What the effect is about to be given, if it takes any: equal to what was judged.

        Raises:
            NotAdmitted: It was made for another action or other arguments, or was claimed before.
        """
        if self.action.resource != resource or self.action.verb != verb:
            judged = f"{self.action.verb} {self.action.resource}"
            raise NotAdmitted(f"the admission is for {judged}, not for {verb} {resource}")
        if arguments is not None and arguments != self.action.arguments:
            raise NotAdmitted(f"the arguments of {resource} are not those that were judged")
        if self._claimed:
            raise NotAdmitted(f"the admission for {verb} {resource} was used before")
        self._claimed = True


class Gate:
    """The choke point of one run: every effect of the run passes `perform`.

    Args:
        approver: Answers for a person when the policy asks; with None, what asks is denied.
        audit: Where intents and outcomes are written.
    """

    def __init__(
        self,
        policy: Policy,
        budget: Budget | None = None,
        *,
        approver: Approver | None = None,
        audit: Audit | None = None,
        emitter: Emitter | None = None,
    ) -> None:
        self.policy = policy
        self.budget = budget or Budget(policy.limits)
        self._approver = approver
        self._audit = audit or MemoryAudit()
        self._emitter = emitter or Emitter("", ())

    async def perform(
        self, action: Action, effect: Callable[[Admission], Awaitable[T]], *, reserve: Spend | None = None
    ) -> T:
        """Run `effect` if `action` may happen, and return what it returns.

        Args:
            effect: Called once, with an admission for `action`; it may set `admission.spent` to what it really cost.
            reserve: The most that it can cost, set aside while it runs.

        Raises:
            Denied: The policy or the person refused; `effect` was not called.
            BudgetExceeded: There is not so much left to spend; `effect` was not called.
        """
        judgement = self.policy.judge(action)
        digest = action.digest()
        if judgement.verdict is Verdict.ASK:
            judgement = await self._ask(action, judgement, digest)
        if judgement.verdict is Verdict.DENY:
            self._write("refusal", action, digest, judgement, "denied", judgement.reason)
            raise Denied(action, judgement)
        try:
            reservation = self.budget.reserve(reserve or Spend())
        except BudgetExceeded as error:
            self._write("refusal", action, digest, judgement, "limit", str(error))
            raise
        return await self._admit(action, digest, judgement, effect, reservation)

    async def _admit(
        self,
        action: Action,
        digest: str,
        judgement: Judgement,
        effect: Callable[[Admission], Awaitable[T]],
        reservation: Reservation,
    ) -> T:
        admission = Admission(action, _SEAL)
        result = "error"
        detail: str | None = None
        try:
            self._write("intent", action, digest, judgement)
        except BaseException:
            self.budget.settle(reservation, Spend())
            raise
        try:
            value = await effect(admission)
            result = "ok"
            return value
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        except BaseException as error:
            detail = type(error).__name__
            raise
        finally:
            self.budget.settle(reservation, reservation.amount if admission.spent is None else admission.spent)
            self._write("outcome", action, digest, judgement, result, detail)

    async def _ask(self, action: Action, judgement: Judgement, digest: str) -> Judgement:
        request = ApprovalRequest(action, judgement, digest)
        if self._approver is None:
            approval = Approval(digest, False, "nobody", "")
            reason = f"{judgement.reason}; nobody can be asked here: pass approver=... (corral run: --yes-to RULE)"
        else:
            self._emitter.emit(
                ApprovalAsked(
                    digest=digest,
                    resource=action.resource,
                    verb=action.verb,
                    arguments=action.arguments,
                    reason=judgement.reason,
                )
            )
            approval = await self._answer(self._approver, request)
            reason = f"{approval.by} {'agreed' if approval.granted else 'refused'}"
            reason += f": {approval.reason}" if approval.reason else ""
            self._emitter.emit(
                ApprovalGiven(digest=digest, granted=approval.granted, by=approval.by, reason=approval.reason)
            )
        return Judgement(Verdict.ALLOW if approval.granted else Verdict.DENY, reason, judgement.rule)

    @staticmethod
    async def _answer(approver: Approver, request: ApprovalRequest) -> Approval:
        try:
            approval = await approver.decide(request)
        except Exception as error:  # noqa: BLE001 - the approver is foreign code, and its failure is a no
            return Approval(request.digest, False, "nobody", f"the approver failed with {type(error).__name__}")
        if approval.digest != request.digest:
            return Approval(request.digest, False, approval.by, "the answer was for another action")
        return approval

    def _write(
        self,
        entry: str,
        action: Action,
        digest: str,
        judgement: Judgement,
        result: str | None = None,
        detail: str | None = None,
    ) -> None:
        self._audit.append(
            AuditRecord(
                entry,
                self._emitter.run_id,
                action.resource,
                action.verb,
                action.principal,
                action.user,
                digest,
                judgement.verdict.name.lower(),
                judgement.rule,
                result,
                detail,
            )
        )
