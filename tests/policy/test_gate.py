from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

import corral.policy
from corral.policy import (
    Action,
    Admission,
    Approval,
    ApprovalAsked,
    ApprovalGiven,
    ApprovalRequest,
    AuditRecord,
    Budget,
    BudgetExceeded,
    Denied,
    Emitter,
    Event,
    Gate,
    GrantScope,
    Limits,
    MemoryAudit,
    Mode,
    NotAdmitted,
    Policy,
    SecurityPolicy,
    Spend,
)

SEND = Action("tool:mail/send", "call", arguments={"to": "a@example.org"})


class Person:
    """An approver with one answer for all, who remembers what was asked."""

    def __init__(self, granted: bool, **answer: object) -> None:
        self.granted = granted
        self.answer = answer
        self.asked: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked.append(request)
        return Approval(request.digest, self.granted, "user:ann", **self.answer)  # type: ignore[arg-type]


class FullDisk:
    """An audit that takes some records and then fails."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.taken: list[AuditRecord] = []

    def append(self, record: AuditRecord) -> None:
        if len(self.taken) >= self.room:
            raise OSError("no space left")
        self.taken.append(record)


class Effect:
    """An effect that counts how often it ran."""

    def __init__(self, value: object = "done") -> None:
        self.ran = 0
        self.value = value

    async def __call__(self, admission: Admission) -> object:
        self.ran += 1
        return self.value


class Says:
    """An approver that does what a function does."""

    def __init__(self, decide: Any) -> None:
        self._decide = decide

    async def decide(self, request: ApprovalRequest) -> Approval:
        return await self._decide(request)


async def refused(gate: Gate, action: Action = SEND) -> Denied:
    effect = Effect()
    with pytest.raises(Denied) as caught:
        await gate.perform(action, effect)
    assert effect.ran == 0
    return caught.value


async def test_an_allowed_effect_runs_once_and_its_value_comes_back(open_policy: Policy) -> None:
    effect = Effect("sent")
    assert await Gate(open_policy).perform(SEND, effect) == "sent"
    assert effect.ran == 1


async def test_a_denied_effect_never_runs_and_the_refusal_is_audited() -> None:
    audit = MemoryAudit()
    error = await refused(Gate(Policy(), audit=audit))
    assert error.action.resource == SEND.resource
    assert [(r.entry, r.result, r.verdict) for r in audit.records] == [("refusal", "denied", "deny")]


async def test_an_ask_with_nobody_to_ask_names_the_parameter(asking_policy: Policy) -> None:
    said = str(await refused(Gate(asking_policy)))
    assert "approver=" in said
    assert f"--yes-to {SEND.resource})" in said


async def test_the_person_sees_what_is_asked_and_a_yes_lets_it_happen(asking_policy: Policy) -> None:
    person, audit = Person(True), MemoryAudit()
    await Gate(asking_policy, approver=person, audit=audit).perform(SEND, Effect())
    assert person.asked[0].action.arguments == SEND.arguments
    assert person.asked[0].digest == SEND.digest()
    assert person.asked[0].judgement.rule == "ask-all"
    assert audit.records[0].detail == "approved: user:ann agreed"


async def test_a_no_is_a_denial_with_the_persons_reason(asking_policy: Policy) -> None:
    gate = Gate(asking_policy, approver=Person(False, reason="not on a Friday"))
    assert "user:ann refused: not on a Friday" in str(await refused(gate))


async def test_whatever_is_not_a_clear_yes_to_this_action_is_a_no(asking_policy: Policy) -> None:
    async def other(request: ApprovalRequest) -> Approval:
        return Approval("0" * 64, True, "user:ann")

    async def fails(request: ApprovalRequest) -> Approval:
        raise RuntimeError("lost")

    async def cancelled(request: ApprovalRequest) -> Approval:
        raise asyncio.CancelledError

    async def nothing(request: ApprovalRequest) -> Any:
        return None

    async def truthy(request: ApprovalRequest) -> Any:
        return Approval(request.digest, "no", "user:ann")  # type: ignore[arg-type]

    for decide, why in [
        (other, "for another action"),
        (fails, "failed with RuntimeError"),
        (cancelled, "was cancelled"),
        (nothing, "gave no Approval"),
        (truthy, "neither yes nor no"),
    ]:
        assert why in str(await refused(Gate(asking_policy, approver=Says(decide))))


async def test_an_approver_that_never_answers_is_a_no_after_the_timeout(asking_policy: Policy) -> None:
    async def never(request: ApprovalRequest) -> Approval:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.fail_after(5):
        error = await refused(Gate(asking_policy, approver=Says(never), approval_timeout=0.01))
    assert "no answer came within 0.01 s" in str(error)


async def test_cancelling_the_run_while_it_asks_passes_through(asking_policy: Policy) -> None:
    asked = anyio.Event()

    async def never(request: ApprovalRequest) -> Approval:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    effect, audit = Effect(), MemoryAudit()
    gate = Gate(asking_policy, approver=Says(never), audit=audit)
    with anyio.fail_after(5):
        task = asyncio.create_task(gate.perform(SEND, effect))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert effect.ran == 0
    assert audit.records == []


async def test_arguments_changed_by_the_approver_are_not_those_that_were_judged(asking_policy: Policy) -> None:
    async def edits(request: ApprovalRequest) -> Approval:
        request.action.arguments["to"] = "evil@example.com"  # type: ignore[index]
        return Approval(request.digest, True, "user:ann")

    seen: list[Any] = []

    async def effect(admission: Admission) -> None:
        admission.claim("tool:mail/send", "call", {"to": "a@example.org"})
        seen.append(admission.action.arguments["to"])

    await Gate(asking_policy, approver=Says(edits)).perform(SEND, effect)
    assert seen == ["a@example.org"]


async def test_arguments_changed_by_the_caller_after_judging_are_not_admitted(asking_policy: Policy) -> None:
    given: dict[str, Any] = {"to": ["a@example.org"]}

    async def slips(request: ApprovalRequest) -> Approval:
        given["to"].append("evil@example.com")
        return Approval(request.digest, True, "user:ann")

    async def effect(admission: Admission) -> None:
        admission.claim("tool:mail/send", "call", given)

    with pytest.raises(NotAdmitted, match="not those that were judged"):
        await Gate(asking_policy, approver=Says(slips)).perform(
            Action("tool:mail/send", "call", arguments=given), effect
        )


@pytest.mark.parametrize(
    ("resource", "verb", "arguments"),
    [
        ("tool:mail/delete", "call", {"to": "a@example.org"}),
        ("tool:mail/send", "write", {"to": "a@example.org"}),
        ("tool:mail/send", "call", {"to": "b@example.org"}),
        ("tool:mail/send", "call", {}),
        ("tool:mail/send", "call", {"to": "a@example.org", "cc": None}),
        ("tool:mail/send", "call", {"to": object()}),
    ],
)
async def test_an_admission_fits_one_action_only(
    open_policy: Policy, resource: str, verb: str, arguments: dict[str, Any]
) -> None:
    async def effect(admission: Admission) -> None:
        admission.claim(resource, verb, arguments)

    with pytest.raises(NotAdmitted):
        await Gate(open_policy).perform(SEND, effect)


async def test_true_is_not_admitted_for_one(open_policy: Policy) -> None:
    async def effect(admission: Admission) -> None:
        admission.claim("tool:x/y", "call", {"n": True})

    with pytest.raises(NotAdmitted):
        await Gate(open_policy).perform(Action("tool:x/y", "call", arguments={"n": 1}), effect)


async def test_an_admission_is_used_once_even_by_many_threads(open_policy: Policy) -> None:
    claimed: list[bool] = []

    async def effect(admission: Admission) -> None:
        start = threading.Barrier(16)

        def claim() -> bool:
            start.wait(5)
            try:
                admission.claim("tool:mail/send", "call")
            except NotAdmitted:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            claimed.extend(f.result() for f in [pool.submit(claim) for _ in range(16)])

    await Gate(open_policy).perform(SEND, effect)
    assert claimed.count(True) == 1


async def test_an_admission_kept_for_later_is_over(open_policy: Policy) -> None:
    kept: list[Admission] = []

    async def effect(admission: Admission) -> None:
        kept.append(admission)

    await Gate(open_policy).perform(SEND, effect)
    with pytest.raises(NotAdmitted, match="is over"):
        kept[0].claim("tool:mail/send", "call")


async def test_an_admission_cant_be_made_copied_stored_or_turned_to_another_action(open_policy: Policy) -> None:
    with pytest.raises(NotAdmitted):
        Admission(SEND, object())

    async def effect(admission: Admission) -> None:
        for double in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(NotAdmitted):
                double(admission)
        with pytest.raises(AttributeError):
            admission.action = Action("tool:bank/pay", "call")  # type: ignore[misc]

    await Gate(open_policy).perform(SEND, effect)


def test_only_the_gate_holds_the_seal() -> None:
    room = Path(corral.policy.__file__).parent
    holders = {path.name for path in room.rglob("*.py") if "SEAL" in path.read_text(encoding="utf-8")}
    assert holders == {"admission.py", "gate.py"}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", {1: "a"}, [{"a": (object(),)}]])
async def test_arguments_that_are_no_json_are_denied(open_policy: Policy, value: Any) -> None:
    audit = MemoryAudit()
    error = await refused(Gate(open_policy, audit=audit), Action("tool:x/y", "call", arguments={"v": value}))
    assert "can't be judged" in str(error)
    assert audit.records[0].entry == "refusal"


async def test_arguments_nested_without_end_are_denied(open_policy: Policy) -> None:
    deep: list[Any] = []
    deep.append(deep)
    await refused(Gate(open_policy), Action("tool:x/y", "call", arguments={"v": deep}))


async def test_the_intent_is_written_before_the_effect_and_the_outcome_after_it(open_policy: Policy) -> None:
    audit = MemoryAudit()

    async def effect(admission: Admission) -> None:
        assert [r.entry for r in audit.records] == ["intent"]
        raise ValueError("a secret in the message")

    with pytest.raises(ValueError, match="secret"):
        await Gate(open_policy, audit=audit).perform(SEND, effect)
    intent, outcome = audit.records
    assert (outcome.entry, outcome.result, outcome.detail) == ("outcome", "error", "ValueError")
    assert intent.digest == outcome.digest == SEND.digest()
    assert "a@example.org" not in str(audit.records)


async def test_without_an_audit_record_the_effect_does_not_run_and_nothing_stays_reserved(open_policy: Policy) -> None:
    effect, budget = Effect(), Budget(Limits(tool_calls=1))
    with pytest.raises(OSError, match="no space"):
        await Gate(open_policy, budget, audit=FullDisk()).perform(SEND, effect, reserve=Spend(tool_calls=1))
    assert effect.ran == 0
    assert budget.left("tool_calls") == 1


async def test_an_outcome_that_cant_be_written_is_told_and_the_cost_is_kept(open_policy: Policy) -> None:
    effect, budget = Effect(), Budget(Limits(tool_calls=1))
    with pytest.raises(OSError, match="no space"):
        await Gate(open_policy, budget, audit=FullDisk(1)).perform(SEND, effect, reserve=Spend(tool_calls=1))
    assert effect.ran == 1
    assert budget.spent.tool_calls == 1


async def test_a_cancelled_effect_is_audited_as_such_and_charged(open_policy: Policy) -> None:
    audit, budget = MemoryAudit(), Budget()
    with anyio.move_on_after(0.01):
        await Gate(open_policy, budget, audit=audit).perform(
            SEND, lambda admission: anyio.sleep_forever(), reserve=Spend(tool_calls=1)
        )
    assert audit.records[-1].result == "cancelled"
    assert budget.spent.tool_calls == 1


async def test_a_call_past_the_limit_is_refused_and_audited(open_policy: Policy) -> None:
    audit, effect = MemoryAudit(), Effect()
    with pytest.raises(BudgetExceeded):
        await Gate(open_policy, Budget(Limits(tool_calls=0)), audit=audit).perform(
            SEND, effect, reserve=Spend(tool_calls=1)
        )
    assert effect.ran == 0
    assert [(r.entry, r.result) for r in audit.records] == [("refusal", "limit")]


async def test_an_effect_says_what_it_really_cost(open_policy: Policy) -> None:
    async def effect(admission: Admission) -> None:
        admission.spent = Spend(tokens=7)

    gate = Gate(open_policy)
    await gate.perform(SEND, effect, reserve=Spend(tokens=1000))
    assert gate.budget.spent == Spend(tokens=7)


async def test_what_is_asked_and_answered_is_an_event(asking_policy: Policy) -> None:
    events: list[Event] = []

    class Sink:
        def emit(self, event: Event) -> None:
            events.append(event)

    await Gate(asking_policy, approver=Person(True), emitter=Emitter("run", (Sink(),))).perform(SEND, Effect())
    assert [type(event) for event in events] == [ApprovalAsked, ApprovalGiven]


async def test_plan_mode_reads_and_changes_nothing(open_policy: Policy) -> None:
    gate = Gate(open_policy, mode=Mode.PLAN)
    for action in (
        Action("tool:files/read", "call", read_only=True),
        Action("memory:long", "read"),
        Action("model:x/y", "generate"),
    ):
        assert await gate.perform(action, Effect()) == "done"
    for action in (SEND, Action("memory:long", "write"), Action("net:example.org:443", "connect")):
        assert "plan mode" in str(await refused(gate, action))


async def test_unattended_mode_asks_nobody(asking_policy: Policy) -> None:
    person = Person(True)
    error = await refused(Gate(asking_policy, approver=person, mode=Mode.UNATTENDED))
    assert "unattended" in str(error)
    assert person.asked == []


async def test_shadow_mode_refuses_nothing_but_limits_and_says_what_it_would_have() -> None:
    audit, effect = MemoryAudit(), Effect()
    gate = Gate(Policy(), Budget(Limits(tool_calls=1)), audit=audit, mode=Mode.SHADOW)
    await gate.perform(SEND, effect, reserve=Spend(tool_calls=1))
    assert effect.ran == 1
    assert audit.records[0].verdict == "deny"
    assert "not enforced" in str(audit.records[0].detail)
    assert not gate.mode.is_secure
    with pytest.raises(BudgetExceeded):
        await gate.perform(SEND, effect, reserve=Spend(tool_calls=1))


async def test_no_mode_but_shadow_lets_through_what_a_rule_denies(asking_policy: Policy) -> None:
    denying = Policy(rules=[SecurityPolicy(resource="*", actions=["*"], effect="deny")])
    for mode in Mode:
        if mode.is_secure:
            await refused(Gate(denying, approver=Person(True), mode=mode))
            await refused(Gate(asking_policy, approver=Person(False), mode=mode))


async def test_a_question_to_a_person_is_asked_again_each_time_also_where_rules_allow_it() -> None:
    allow = Policy(rules=[SecurityPolicy(resource="tool:*", actions=["call"])])
    question = Action("tool:mail/elicitation", "call", arguments={"message": "Who?"}, for_person=True)
    person = Person(True, scope=GrantScope.PERSISTENT, content={"name": "Ann"})

    async def answer(admission: Admission) -> object:
        admission.claim(question.resource, "call", {"message": "Who?"})
        assert admission.judgement is not None
        return admission.judgement.content

    gate = Gate(allow, approver=person)
    assert [await gate.perform(question, answer) for _ in range(2)] == [{"name": "Ann"}] * 2
    assert [request.judgement.grants for request in person.asked] == [GrantScope.ONCE] * 2
    for nobody in (Gate(allow), Gate(allow, approver=person, mode=Mode.UNATTENDED)):
        with pytest.raises(Denied):
            await nobody.perform(question, answer)
