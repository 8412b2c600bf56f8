"""What the policy's room knows of agents that act for other agents."""

from __future__ import annotations

import pytest

from corral.policy import (
    Action,
    Admission,
    Budget,
    Denied,
    Gate,
    Judgement,
    Limits,
    MemoryAudit,
    Mode,
    Policy,
    Spend,
    Verdict,
)


async def nothing(_: Admission) -> None:
    return None


async def test_the_audit_names_all_agents_that_an_action_was_delegated_through(open_policy: Policy) -> None:
    audit = MemoryAudit()
    action = Action("tool:mail/read", "call", "agent:helper", via=("agent:boss", "agent:clerk"))
    await Gate(open_policy, audit=audit).perform(action, nothing)
    assert {record.principal for record in audit.records} == {"agent:boss > agent:clerk > agent:helper"}
    assert action.digest() != Action("tool:mail/read", "call", "agent:helper").digest()


async def test_plan_mode_delegates_since_what_is_delegated_is_judged_too(open_policy: Policy) -> None:
    gate = Gate(open_policy, mode=Mode.PLAN)
    await gate.perform(Action("agent:helper", "delegate"), nothing)
    with pytest.raises(Denied):
        await gate.perform(Action("tool:mail/send", "call"), nothing)


def test_without_a_policy_agents_of_the_program_may_be_delegated_to() -> None:
    assert Policy.safe().judge(Action("agent:helper", "delegate")).verdict is Verdict.ALLOW


@pytest.mark.parametrize("mode", list(Mode))
def test_the_narrower_mode_is_never_a_laxer_one(mode: Mode) -> None:
    assert mode.narrowed(Mode.SHADOW) is mode is Mode.SHADOW.narrowed(mode)
    assert mode.narrowed(Mode.PLAN) is Mode.PLAN


def test_a_refusal_from_outside_the_policy_is_in_the_audit(open_policy: Policy) -> None:
    audit = MemoryAudit()
    gate = Gate(open_policy, audit=audit)
    error = gate.refuse(Action("tool:mail/send", "call"), Judgement(Verdict.DENY, "not on Sundays", "plugin:calm"))
    assert "not on Sundays" in str(error)
    assert [(record.entry, record.rule) for record in audit.records] == [("refusal", "plugin:calm")]


def test_a_budget_knows_what_it_is_part_of() -> None:
    whole = Budget(Limits(steps=5))
    part = whole.child(Limits(seconds=100), seconds_spent=60)
    part.settle(part.reserve(Spend(steps=1)), Spend(steps=1))
    assert part.is_within(whole)
    assert not whole.is_within(part)
    assert whole.spent == Spend(steps=1)
    assert (part.seconds_left() or 0) <= 40
