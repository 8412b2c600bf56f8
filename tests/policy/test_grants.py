from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from corral.policy import (
    Action,
    Admission,
    Approval,
    ApprovalRequest,
    Denied,
    Emitter,
    Gate,
    Grants,
    GrantScope,
    Mode,
    Policy,
    PolicyFileError,
    SecurityPolicy,
)

SEND = Action("tool:mail/send", "call", arguments={"to": "a"})
OTHER = Action("tool:mail/send", "call", arguments={"to": "b"})


def asking(**rule: Any) -> Policy:
    return Policy(rules=[SecurityPolicy(resource="tool:*", actions=["call"], effect="ask", id="asks", **rule)])


class Once:
    """A person who answers the first question only."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked += 1
        return Approval(request.digest, self.asked == 1, "user:ann", **self.answer)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def passes(gate: Gate, action: Action = SEND) -> bool:
    async def effect(admission: Admission) -> bool:
        return True

    try:
        return await gate.perform(action, effect)
    except Denied:
        return False


def gate(policy: Policy, grants: Grants, person: Once, run: str = "run", **rest: Any) -> Gate:
    return Gate(policy, approver=person, grants=grants, emitter=Emitter(run, ()), **rest)


async def test_a_yes_is_for_once_unless_the_person_says_otherwise() -> None:
    grants, person = Grants(), Once()
    assert await passes(gate(asking(), grants, person))
    assert not await passes(gate(asking(), grants, person))
    assert person.asked == 2


async def test_a_yes_for_the_session_answers_the_same_call_there_and_nowhere_else() -> None:
    grants, person = Grants(), Once(scope=GrantScope.SESSION)
    here = gate(asking(), grants, person)
    assert await passes(here)
    assert await passes(here)
    assert person.asked == 1
    assert not await passes(here, OTHER)
    assert not await passes(gate(asking(), grants, person, "another run"))


async def test_a_yes_for_a_resource_answers_other_arguments_but_no_other_resource_or_principal() -> None:
    grants, person = Grants(), Once(scope=GrantScope.RESOURCE)
    assert await passes(gate(asking(), grants, person))
    assert await passes(gate(asking(), grants, person, "another run"), OTHER)
    assert not await passes(gate(asking(), grants, person), Action("tool:mail/delete", "call", arguments={"to": "a"}))
    assert not await passes(
        gate(asking(), grants, person), Action("tool:mail/send", "call", "agent:other", arguments={"to": "a"})
    )


async def test_a_yes_is_used_up_and_runs_out() -> None:
    clock = Clock()
    grants = Grants(clock=clock)
    person = Once(scope=GrantScope.PERSISTENT, max_uses=2, valid_for=60.0)
    here = gate(asking(), grants, person)
    assert [await passes(here) for _ in range(4)] == [True, True, True, False]
    grants, person = Grants(clock=clock), Once(scope=GrantScope.PERSISTENT, valid_for=60.0)
    here = gate(asking(), grants, person)
    assert await passes(here)
    clock.now += 61
    assert not await passes(here)


async def test_a_clock_that_jumps_back_revives_nothing() -> None:
    clock = Clock()
    grants, person = Grants(clock=clock), Once(scope=GrantScope.PERSISTENT, valid_for=60.0)
    assert await passes(gate(asking(), grants, person))
    clock.now += 100
    assert grants.all == []
    clock.now -= 100
    assert not await passes(gate(asking(), grants, person))


@pytest.mark.parametrize(("most", "kept"), [("once", []), ("session", [GrantScope.SESSION])])
async def test_a_rule_shortens_what_a_person_grants(most: str, kept: list[GrantScope]) -> None:
    grants = Grants()
    assert await passes(gate(asking(grants=most), grants, Once(scope=GrantScope.PERSISTENT)))
    assert [grant.scope for grant in grants.all] == kept


async def test_a_grant_never_answers_a_denial_nor_another_rule_nor_a_changed_policy_or_tool() -> None:
    grants, person = Grants(), Once(scope=GrantScope.RESOURCE)
    assert await passes(gate(asking(), grants, person))
    denying = asking().model_copy(
        update={"rules": [*asking().rules, SecurityPolicy(resource="*", actions=["*"], effect="deny")]}
    )
    assert not await passes(gate(denying, grants, person))
    assert not await passes(gate(asking(reason="other"), grants, person))
    changed = Action("tool:mail/send", "call", arguments={"to": "a"}, schema_hash="new")
    assert not await passes(gate(asking(), grants, person), changed)


async def test_grants_given_before_answer_in_unattended_mode() -> None:
    grants, person = Grants(), Once(scope=GrantScope.RESOURCE)
    assert await passes(gate(asking(), grants, person))
    assert await passes(gate(asking(), grants, person, mode=Mode.UNATTENDED))
    assert person.asked == 1


async def test_lasting_grants_live_in_a_file_of_their_owner_and_can_be_revoked(tmp_path: Path) -> None:
    path = tmp_path / "x" / "grants.json"
    person = Once(scope=GrantScope.PERSISTENT, max_uses=5)
    assert await passes(gate(asking(), Grants(path), person))
    assert path.stat().st_mode & 0o777 == 0o600
    assert await passes(gate(asking(), Grants(path), person, "later"))
    again = Grants(path)
    assert [grant.uses_left for grant in again.all] == [4]
    assert again.revoke(lambda grant: grant.resource == "tool:mail/send") == 1
    assert Grants(path).all == []


async def test_a_session_grant_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "grants.json"
    assert await passes(gate(asking(), Grants(path), Once(scope=GrantScope.SESSION)))
    assert Grants(path).all == []


@pytest.mark.parametrize("text", ["", "{", '{"version": 2, "grants": []}', '{"grants": [{"resource": "x"}]}', "\udcff"])
def test_a_file_of_grants_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grants.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PolicyFileError):
        Grants(path)


def test_a_policy_can_be_pickled_and_copied() -> None:
    for double in (pickle.loads(pickle.dumps(asking())), copy.deepcopy(asking())):
        assert double == asking()
        assert double.judge(SEND) == asking().judge(SEND)
