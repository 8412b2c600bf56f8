"""The gate: the one way to an effect. It judges, asks, reserves, writes down, lets happen, settles, writes down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from corral.policy.action import Action
from corral.policy.admission import SEAL, Admission
from corral.policy.approvals import Approver
from corral.policy.asking import Asking
from corral.policy.audit import Audit, AuditRecord, MemoryAudit
from corral.policy.budget import Budget, Reservation, Spend
from corral.policy.derivation import leaves
from corral.policy.errors import BudgetExceeded, Denied
from corral.policy.events import Emitter
from corral.policy.facts import Facts
from corral.policy.grants import Grants
from corral.policy.judgement import GrantScope, Judgement, Verdict, strictest
from corral.policy.label import Integrity
from corral.policy.layers import Opinion
from corral.policy.mode import Mode
from corral.policy.policy import Judge
from corral.policy.provenance import Provenance
from corral.policy.quotas import Quotas
from corral.policy.rates import RateLimits
from corral.policy.traces import Endorsement

__all__ = ["Admission", "Gate", "Throttle"]

T = TypeVar("T")


class Throttle(Protocol):
    """Refuses what comes too often: a rate, a quota, a loop of equal calls."""

    def take(self, action: Action, digest: str) -> str | None:
        """None and the call is counted, or why it may not happen now; asked last, just before the effect."""
        ...


@dataclass(frozen=True, slots=True)
class _Case:
    """One action on its way through the gate."""

    action: Action
    digest: str
    judgement: Judgement


class Gate:
    """The choke point of one run: every effect of the run passes `perform`.

    Args:
        approver: Answers for a person when the policy asks; with None, what asks is denied.
        audit: Where intents and outcomes are written.
        guards: More opinions, such as the run's `Provenance`; the strictest of all holds, so none loosens the policy.
        throttles: More than the policy's own rates and quotas, such as `Repeats`; `RateLimits` and `Quotas` among them,
            which several gates may share, stand for the policy's.
        grants: Answers that a person gave before; none by default.
        session: Facts for `session.*` conditions.
        session_id: For how long a grant for the session lasts; None is the run.
        approval_timeout: Seconds until no answer is a no; None waits as long as the run may.
    """

    def __init__(
        self,
        policy: Judge,
        budget: Budget | None = None,
        *,
        approver: Approver | None = None,
        audit: Audit | None = None,
        emitter: Emitter | None = None,
        mode: Mode = Mode.ENFORCE,
        guards: Sequence[Opinion] = (),
        throttles: Sequence[Throttle] = (),
        grants: Grants | None = None,
        session: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        approval_timeout: float | None = None,
    ) -> None:
        self.policy = policy
        self.budget = budget or Budget(policy.limits)
        self.mode = mode
        self._audit = audit or MemoryAudit()
        self._emitter = emitter or Emitter("", ())
        self._guards = tuple(guards)
        self._throttles = (*throttles, *_own(policy, throttles))
        self._facts = Facts(session or {}, self.budget)
        self._asking = Asking(
            approver if mode is not Mode.UNATTENDED else None,
            grants or Grants(),
            self._emitter,
            session_id or self._emitter.run_id,
            timeout=approval_timeout,
            attended=mode is not Mode.UNATTENDED,
        )

    async def perform(
        self, action: Action, effect: Callable[[Admission], Awaitable[T]], *, reserve: Spend | None = None
    ) -> T:
        """Run `effect` if `action` may happen, and return what it returns.

        The action's arguments are copied before they are judged; what the caller changes later was not judged, and
        the admission does not fit it.

        Args:
            effect: Called once, with an admission for `action`; it may set `admission.spent` to what it really cost.
            reserve: The most that it can cost, set aside while it runs.

        Raises:
            Denied: The policy, a guard, a throttle or the person refused; `effect` was not called.
            BudgetExceeded: There is not so much left to spend; `effect` was not called.
        """
        case = await self._judged(action)
        if case.judgement.verdict is not Verdict.ALLOW and self.mode.is_secure:
            raise self._refused(case, "denied")
        for throttle in self._throttles:
            why = throttle.take(case.action, case.digest)
            if why is not None:
                raise self._refused(_Case(case.action, case.digest, Judgement(Verdict.DENY, why)), "rate")
        try:
            reservation = self.budget.reserve(reserve or Spend())
        except BudgetExceeded as error:
            self._write("refusal", case, "limit", str(error))
            raise
        return await self._admit(case, effect, reservation)

    def refuse(self, action: Action, judgement: Judgement) -> Denied:
        """Write down that something was refused before it was judged, as by a hook; raise what is returned."""
        try:
            action = action.frozen()
            digest = action.digest()
        except (TypeError, ValueError, RecursionError):
            digest = ""
        return self._refused(_Case(action, digest, judgement), "denied")

    def endorse(
        self,
        provenance: Provenance,
        value: str,
        by: str,
        integrity: Integrity = Integrity.DIRECTORY,
        reason: str = "",
    ) -> None:
        """Let a person or a rule vouch for a value, once that is in the audit: by its hash, with who did it and why."""
        endorsement = Endorsement(value, integrity, by, reason)
        self._audit.append(endorsement.record(self._emitter.run_id))
        provenance.traces.endorse(endorsement)

    async def _judged(self, action: Action) -> _Case:
        try:
            action = action.frozen()
            digest = action.digest(frozen=True)
        except (TypeError, ValueError, RecursionError) as error:
            why = Judgement(Verdict.DENY, f"the arguments can't be judged: {error}")
            raise self._refused(_Case(action, "", why), "denied") from None
        opinions = [guard.opinion(action, self._facts) for guard in self._guards]
        judgement = self.mode.tighten(action, strictest(self.policy.judge(action, self._facts), *opinions))
        if action.for_person and judgement.verdict is not Verdict.DENY:
            judgement = replace(judgement, verdict=Verdict.ASK, grants=GrantScope.ONCE)
        if judgement.verdict is Verdict.ASK and self.mode.is_secure:
            judgement = await self._asking.ask(action, judgement, digest, self.policy.fingerprint)
        return _Case(action, digest, judgement)

    def _refused(self, case: _Case, result: str) -> Denied:
        self._write("refusal", case, result, case.judgement.reason)
        return Denied(case.action, case.judgement)

    async def _admit(self, case: _Case, effect: Callable[[Admission], Awaitable[T]], reservation: Reservation) -> T:
        admission = Admission(case.action, SEAL, case.judgement)
        try:
            self._write("intent", case, detail=self._remark(case.judgement))
        except BaseException:
            self.budget.settle(reservation, Spend())
            raise
        result, detail = "error", None
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
            admission.end()
            try:
                self.budget.settle(reservation, reservation.amount if admission.spent is None else admission.spent)
            finally:
                self._write("outcome", case, result, detail)

    def _remark(self, judgement: Judgement) -> str | None:
        if judgement.verdict is not Verdict.ALLOW:
            return f"shadow mode, not enforced: {judgement.reason}"
        return judgement.answered_by and f"approved: {judgement.reason}"

    def _write(self, entry: str, case: _Case, result: str | None = None, detail: str | None = None) -> None:
        action, judgement = case.action, case.judgement
        self._audit.append(
            AuditRecord(
                entry,
                self._emitter.run_id,
                action.resource,
                action.verb,
                action.who,
                action.user,
                case.digest,
                judgement.verdict.name.lower(),
                judgement.rule,
                result,
                _without_arguments(detail, action) if detail and case.digest else detail,
            )
        )


def _own(policy: Judge, given: Sequence[Throttle]) -> Iterator[Throttle]:
    """What counts the policy's rates and quotas, where nobody gave something that does."""
    if policy.rates and not any(isinstance(throttle, RateLimits) for throttle in given):
        yield RateLimits(policy.rates)
    if policy.quotas and not any(isinstance(throttle, Quotas) for throttle in given):
        yield Quotas(policy.quotas)


def _without_arguments(detail: str, action: Action) -> str:
    """A reason may quote an argument for the person; the audit names arguments by their hash alone."""
    quoted = {str(leaf)[:80] for leaf in leaves(dict(action.arguments)) if len(str(leaf)) > 3}
    for value in sorted(quoted, key=len, reverse=True):
        for form in (value, repr(value)[1:-1]):
            detail = detail.replace(form, "[argument]")
    return detail
