"""Agents that delegate to agents: one budget, no wider rights, labels kept, an end to recursion, nothing lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspy.lm15 import Request

from corral.agents import CodeAct, DefinitionError, Journal, ReAct, StopReason, hand_off
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import (
    Approval,
    ApprovalRequest,
    Budget,
    Integrity,
    Limits,
    MemoryAudit,
    Mode,
    Policy,
    Rate,
    RunFinished,
    RunStarted,
    SecurityPolicy,
    Spend,
    ToolReturned,
)
from corral.sandbox import MontyProvider
from corral.tools import tool

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
LOG: list[str] = []


@tool
def send(to: str) -> str:
    """Send."""
    LOG.append(to)
    return f"sent to {to}"


@tool(effect="read")
def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


@pytest.fixture(autouse=True)
def log() -> list[str]:
    LOG.clear()
    return LOG


def by_turn(*turns: Reply | str) -> Any:
    """A model whose answer depends only on how far the conversation is."""

    def script(request: Request, number: int) -> Reply | str:
        return turns[min(sum(message.role == "assistant" for message in request.messages), len(turns) - 1)]

    return scripted_lm(script)[0]


def helper(*turns: Reply | str, name: str = "helper", tools: Any = (send, look), **options: Any) -> ReAct:
    return ReAct("question -> answer", tools, lm=by_turn(*turns), name=name, **options)


def boss(member: Any, *turns: Reply | str, name: str = "boss", **options: Any) -> ReAct:
    asks = turns or (Reply(calls=[Call(member.name, {"question": "do it"})]), "Done.")
    tools = options.pop("tools", [member])
    return ReAct("question -> answer", tools, lm=by_turn(*asks), name=name, **options)


SENDING = (Reply(calls=[Call("send", {"to": "ann"})]), "Sent.")


def told(recorder: Recorder, tool: str = "helper") -> Any:
    return next(event for event in recorder.of(ToolReturned) if event.tool == tool)


def team(**options: Any) -> ReAct:
    """A boss and two that work for it, of which one calls a tool."""
    one = helper(*SENDING, name="one")
    two = helper("Nothing to do.", name="two")
    asks = Reply(calls=[Call("one", {"question": "send"}), Call("two", {"question": "rest"})])
    return ReAct("question -> answer", [one, two], lm=by_turn(asks, "Done."), name="boss", **options)


async def test_what_a_team_of_three_spends_is_what_its_parent_shows(recorder: Recorder) -> None:
    result = await team(policy=EVERYTHING, sinks=[recorder]).run("go")
    assert result.ok
    ends = {event.run_id: event for event in recorder.of(RunFinished)}
    assert len(ends) == 3
    own = [event for event in ends.values() if event.run_id != result.run_id]
    assert result.spent == Spend(steps=2 + 3, tool_calls=2 + 1, tokens=5 * 15)
    assert result.usage.tokens == result.spent.tokens
    assert sum(event.usage.tokens for event in own) + 2 * 15 == result.usage.tokens
    assert sum(event.tool_calls for event in own) + 2 == result.tool_calls == ends[result.run_id].tool_calls
    assert LOG == ["ann"]


async def test_a_hundred_teams_at_once_spend_from_one_budget_what_their_parents_show() -> None:
    shared = Budget(Limits(steps=1000, tool_calls=600))
    one = team(policy=EVERYTHING, budget=shared)
    results = await asyncio.gather(*(one.run("go") for _ in range(100)))
    assert all(result.ok for result in results)
    total = Spend()
    for result in results:
        total += result.spent
    assert shared.spent == total == Spend(500, 300, 7500)
    assert len(LOG) == 100


async def test_a_hundred_teams_at_once_never_overshoot_their_budget() -> None:
    shared = Budget(Limits(steps=120, tool_calls=70, tokens=4000))
    one = team(policy=EVERYTHING, budget=shared)
    results = await asyncio.gather(*(one.run("go") for _ in range(100)))
    spent = shared.spent
    assert spent.steps <= 120
    assert spent.tool_calls <= 70
    assert spent.tokens <= 4000
    assert {result.reason for result in results} - {StopReason.DONE}
    assert sum(result.spent.steps for result in results) == spent.steps


@pytest.mark.parametrize("own", [None, EVERYTHING])
async def test_a_child_can_not_call_what_its_parent_can_not(own: Policy | None, recorder: Recorder) -> None:
    rules = [SecurityPolicy(resource=resource, actions=["*"]) for resource in ("model:*", "agent:*", "tool:local/look")]
    member = helper(*SENDING, policy=own)
    assert (await boss(member, policy=Policy(rules=rules), sinks=[recorder]).run("go")).ok
    assert LOG == []
    assert told(recorder, "send").outcome == "denied"


async def test_a_child_can_not_call_what_only_its_parent_is_denied_by_name(recorder: Recorder) -> None:
    rules = [
        SecurityPolicy(resource="*", actions=["*"]),
        SecurityPolicy(resource="tool:local/send", actions=["call"], principals=["agent:boss"], effect="deny"),
    ]
    assert (await boss(helper(*SENDING), policy=Policy(rules=rules), sinks=[recorder]).run("go")).ok
    assert LOG == []
    assert "for agent:boss, which has it done" in told(recorder, "send").content


async def test_a_grandchild_has_the_rights_of_all_above_it() -> None:
    no_send = Policy(
        rules=[*EVERYTHING.rules, SecurityPolicy(resource="tool:local/send", actions=["call"], effect="deny")]
    )
    low = helper(*SENDING, name="low", policy=EVERYTHING)
    middle = boss(low, name="middle", policy=no_send)
    audit = MemoryAudit()
    assert (await boss(middle, policy=EVERYTHING, audit=audit).run("go")).ok
    assert LOG == []
    (refused,) = [record for record in audit.records if record.entry == "refusal"]
    assert refused.principal == "agent:boss > agent:middle > agent:low"


async def test_a_child_without_a_policy_has_its_parents() -> None:
    assert (await boss(helper(*SENDING), policy=EVERYTHING).run("go")).ok
    assert LOG == ["ann"]


async def test_a_childs_own_policy_still_narrows() -> None:
    own = Policy(rules=[SecurityPolicy(resource="model:*", actions=["*"])])
    assert (await boss(helper(*SENDING, policy=own), policy=EVERYTHING).run("go")).ok
    assert LOG == []


async def test_delegating_itself_passes_the_gate(recorder: Recorder) -> None:
    rules = [SecurityPolicy(resource="model:*", actions=["*"]), SecurityPolicy(resource="tool:*", actions=["*"])]
    assert (await boss(helper(*SENDING), policy=Policy(rules=rules), sinks=[recorder]).run("go")).ok
    assert told(recorder).outcome == "denied"
    assert len(recorder.of(RunStarted)) == 1


async def test_the_mode_of_a_child_is_at_least_as_strict() -> None:
    assert (await boss(helper(*SENDING), policy=EVERYTHING, mode=Mode.PLAN).run("go")).ok
    assert (await boss(helper(*SENDING, mode=Mode.PLAN), policy=EVERYTHING).run("go")).ok
    assert (await boss(helper(*SENDING, mode=Mode.SHADOW), policy=Policy.safe()).run("go")).ok
    assert LOG == []


async def test_nobody_is_asked_for_a_child_of_a_run_that_nobody_attends() -> None:
    member = helper(*SENDING)
    assert (await boss(member, approver=Person(True)).run("go")).ok
    assert LOG == ["ann"]
    assert (await boss(member, approver=Person(True), mode=Mode.UNATTENDED).run("go")).ok
    alone = helper(*SENDING, mode=Mode.UNATTENDED)
    assert (await boss(alone, approver=Person(True)).run("go")).ok
    assert LOG == ["ann"]


class Person:
    def __init__(self, granted: bool) -> None:
        self.granted = granted
        self.asked: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked.append(request)
        return Approval(request.digest, self.granted, "user:test")


async def test_the_parents_person_is_asked_and_sees_for_whom() -> None:
    careless, person = Person(True), Person(False)
    team = boss(helper(*SENDING, approver=careless, user="eve"), approver=person, user="ann")
    assert (await team.run("go")).ok
    assert LOG == []
    assert careless.asked == []
    (request,) = person.asked
    assert request.action.who == "agent:boss > agent:helper"
    assert request.action.user == "user:ann"


async def test_an_answer_carries_the_label_of_all_that_the_child_has_read(recorder: Recorder) -> None:
    reading = helper(Reply(calls=[Call("look", {"what": "page"})]), "It says so.")
    result = await boss(reading, sinks=[recorder]).run("go")
    assert told(recorder).label.integrity is Integrity.UNTRUSTED
    assert {"tool:local/look", "agent:helper"} <= result.label.sources
    recorder.events.clear()
    result = await boss(helper("Out of my head."), sinks=[recorder]).run("go")
    assert result.label.integrity is Integrity.USER


async def test_what_is_delegated_after_something_untrusted_was_read_is_untrusted() -> None:
    seen: list[Integrity] = []
    rule = SecurityPolicy(resource="tool:local/send", actions=["call"], effect="ask")
    policy = Policy(rules=[*EVERYTHING.rules, rule])

    class Looks(Person):
        async def decide(self, request: ApprovalRequest) -> Approval:
            seen.append(request.action.labels["to"].integrity)
            return await super().decide(request)

    turns = (Reply(calls=[Call("look", {"what": "x"})]), Reply(calls=[Call("helper", {"question": "do"})]), "Done.")
    member = helper(*SENDING)
    await boss(member, *turns, tools=[look, member], policy=policy, approver=Looks(True)).run("go")
    await boss(member, policy=policy, approver=Looks(True)).run("go")
    assert seen == [Integrity.UNTRUSTED, Integrity.USER]


async def test_the_rates_of_a_policy_are_those_of_the_whole_team(recorder: Recorder) -> None:
    policy = Policy(rules=EVERYTHING.rules, rates=[Rate(resource="tool:local/send", calls=1, seconds=1000)])
    one, two = helper(*SENDING, name="one"), helper(*SENDING, name="two")
    asks = Reply(calls=[Call("one", {"question": "send"}), Call("two", {"question": "send"})])
    team = ReAct("question -> answer", [one, two], lm=by_turn(asks, "Done."), policy=policy, sinks=[recorder])
    assert (await team.run("go")).ok
    assert LOG == ["ann"]
    assert sorted(event.outcome for event in recorder.of(ToolReturned) if event.tool == "send") == ["denied", "ok"]


async def test_events_of_a_child_say_where_it_belongs(recorder: Recorder) -> None:
    result = await boss(helper("Yes."), sinks=[recorder]).run("go")
    parent, child = recorder.of(RunStarted)
    assert (parent.run_id, parent.parent_run_id) == (result.run_id, None)
    assert (child.parent_run_id, child.parent_step, child.agent) == (result.run_id, "tool/1/0", "helper")
    assert [e.run_id for e in recorder.of(RunFinished)] == [child.run_id, parent.run_id]


async def test_agents_that_call_each_other_end_at_the_limit_on_depth(recorder: Recorder) -> None:
    turns = (Reply(calls=[Call("b", {"question": "you"})]), "Back.")
    a = ReAct("question -> answer", [], lm=by_turn(*turns), name="a")
    b = ReAct("question -> answer", [a], lm=by_turn(Reply(calls=[Call("a", {"question": "you"})]), "Back."), name="b")
    a = ReAct("question -> answer", [b], lm=by_turn(*turns), name="a", limits=Limits(depth=2), sinks=[recorder])
    b.toolbox._sources[:] = [*ReAct("question -> answer", [a]).toolbox._sources]  # pyright: ignore
    result = await a.run("go")
    assert result.ok
    assert [event.agent for event in recorder.of(RunStarted)] == ["a", "b", "a"]
    assert "depth" in next(e.content for e in recorder.of(ToolReturned) if e.outcome != "ok")


async def test_a_child_that_fails_is_told_to_its_parent_who_goes_on(recorder: Recorder) -> None:
    from dspy.lm15 import AuthError

    result = await boss(helper(Reply(error=AuthError("no key"))), sinks=[recorder]).run("go")
    assert result.ok
    assert told(recorder).outcome == "error"
    lacking = ReAct("question -> answer", name="helper", lm=by_turn("x"), limits=Limits(cost_usd=1))
    recorder.events.clear()
    assert (await boss(lacking, sinks=[recorder]).run("go")).ok
    assert "price" in told(recorder).content


async def test_a_child_that_hangs_is_stopped_and_its_parent_goes_on(recorder: Recorder) -> None:
    from corral.agents import delegate

    slow = delegate(helper(Reply("Late.", delay=30)), timeout=0.2)
    with anyio.fail_after(10):
        result = await boss(slow, sinks=[recorder]).run("go")
    assert result.ok
    assert "ran past its limit of 0.2 s" in told(recorder).content
    assert [event.reason for event in recorder.of(RunFinished)] == ["cancelled", "done"]


async def test_cancelling_a_parent_cancels_its_children(recorder: Recorder) -> None:
    started = anyio.Event()

    class Sees:
        def emit(self, event: Any) -> None:
            if isinstance(event, RunStarted) and event.parent_run_id:
                started.set()

    running = asyncio.create_task(boss(helper(Reply("Late.", delay=30)), sinks=[recorder, Sees()]).run("go"))
    with anyio.fail_after(10):
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [event.reason for event in recorder.of(RunFinished)] == ["cancelled", "cancelled"]


async def test_a_child_that_spends_all_leaves_its_parent_a_final_answer() -> None:
    greedy = helper(Reply(calls=[Call("look", {"what": "more"})]))
    result = await boss(greedy, policy=EVERYTHING, limits=Limits(steps=6)).run("go")
    assert result.outputs == {"answer": "Done."}
    assert result.spent.steps == 6


async def test_a_child_can_not_bring_a_budget_of_its_own(recorder: Recorder) -> None:
    own = Budget(Limits(steps=99))
    assert (await boss(helper("Yes.", budget=own), sinks=[recorder]).run("go")).ok
    assert "has a budget of its own" in told(recorder).content
    assert own.spent == Spend()
    recorder.events.clear()
    assert (await boss(helper("Yes.", budget=own), sinks=[recorder], budget=own).run("go")).ok
    assert told(recorder).content == "Yes."
    assert own.spent.steps == 3


async def test_an_agent_started_by_a_function_of_another_ones_tools_works_for_it_too(recorder: Recorder) -> None:
    member = helper(*SENDING, policy=EVERYTHING)

    @tool(effect="read")
    async def research(topic: str) -> str:
        """Research."""
        result = await member.run(topic)
        return f"{result.reason.value}: {result.text}"

    @tool(effect="read")
    def blocking(topic: str) -> str:
        """Research, in a thread."""
        return member.run_sync(topic).text

    turns = (
        Reply(calls=[Call("research", {"topic": "x"})]),
        Reply(calls=[Call("blocking", {"topic": "x"})]),
        "Done.",
    )
    rules = [SecurityPolicy(resource=r, actions=["*"]) for r in ("model:*", "tool:local/research", "agent:*")]
    rules.append(SecurityPolicy(resource="tool:local/blocking", actions=["*"]))
    audit = MemoryAudit()
    parent = boss(member, *turns, tools=[research, blocking], policy=Policy(rules=rules), audit=audit)
    result = await parent.run("go")
    assert result.ok
    assert LOG == []
    assert result.spent.steps == 3 + 2 + 2
    delegated = [record for record in audit.records if record.verb == "delegate" and record.entry == "intent"]
    assert [record.principal for record in delegated] == ["agent:boss", "agent:boss"]


async def test_code_delegates_as_the_model_does(recorder: Recorder) -> None:
    member = ReAct("question -> total: int", lm=by_turn(Reply(calls=[Call("submit", {"total": 4})])), name="adds")
    code = "print(adds(question='2 + 2')['total'] + 1)"
    lm = by_turn(Reply(calls=[Call("python", {"code": code})]), "Five.")
    agent = CodeAct("question -> answer", [member], lm=lm, sandbox=MontyProvider(), sinks=[recorder])
    result = await agent.run("go")
    assert result.ok
    assert told(recorder, "adds").content == '{"total": 4}'
    assert "5" in str(result.messages)
    assert result.spent == Spend(steps=3, tool_calls=2, tokens=45)


async def test_a_handed_over_task_is_answered_by_who_got_it(recorder: Recorder) -> None:
    lm, engine = scripted_lm(["The refund is on its way."])
    refunds = ReAct("question -> answer", lm=lm, name="refunds")
    calls = Reply(calls=[Call("refunds", {"note": "an old customer"})])
    front = ReAct("question -> answer", [hand_off(refunds)], lm=by_turn(calls, "not asked"), sinks=[recorder])
    result = await front.run("Where is my money?")
    assert result.ok
    assert result.outputs == {"answer": "The refund is on its way."}
    said = [message.text for message in engine.requests[0].messages]
    assert said == ["main hands you its task, and notes: an old customer", "Where is my money?"]
    assert result.steps == 1


async def test_a_task_that_was_handed_over_is_answered_the_same_when_the_run_is_resumed(tmp_path: Path) -> None:
    lm, engine = scripted_lm(["It is on its way."])
    refunds = ReAct("question -> answer", lm=lm, name="refunds")
    front = by_turn(Reply(calls=[Call("refunds", {"note": ""}, "1")]))
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", [hand_off(refunds)], lm=front, journal=journal)
        result = await agent.run("Where is my money?")
        again = await agent.resume(result.run_id)
    assert again.outputs == result.outputs == {"answer": "It is on its way."}
    assert again.spent == result.spent
    assert len(engine.requests) == 1


async def test_an_answer_that_does_not_fit_is_no_hand_over() -> None:
    words = ReAct("question -> answer", lm=by_turn("Many."), name="words")
    calls = Reply(calls=[Call("words", {})])
    lm = by_turn(calls, Reply(calls=[Call("submit", {"total": 3})]))
    result = await ReAct("question -> total: int", [hand_off(words)], lm=lm).run("How many?")
    assert result.outputs == {"total": 3}
    lm = by_turn(calls, "I can't.")
    other = ReAct("task -> answer", [hand_off(words)], lm=lm)
    result = await other.run("How many?")
    assert "which this task has not" in str(result.messages)


def test_an_agent_that_others_delegate_to_has_a_name() -> None:
    with pytest.raises(DefinitionError, match="name="):
        boss(ReAct("question -> answer", lm=by_turn("x")))
