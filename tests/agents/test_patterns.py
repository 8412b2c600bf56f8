"""Teams as parts: who answers, what it costs, and what becomes of a member that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import dspy
import pytest
from dspy.lm15 import AuthError, Request

from corral.agents import (
    BestOf,
    Cascade,
    DefinitionError,
    Fallback,
    FanOut,
    Journal,
    Judged,
    Majority,
    ReAct,
    Result,
    Router,
    StopReason,
    fan_out,
)
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Budget, Limits, Policy, RunStarted, SecurityPolicy, Spend

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


def says(*replies: Reply | str, name: str = "says", signature: str = "question -> answer", **options: Any) -> ReAct:
    return ReAct(signature, lm=scripted_lm(replies)[0], name=name, **options)


def submits(*outputs: Mapping[str, Any], signature: str, name: str = "judge") -> ReAct:
    return says(*(Reply(calls=[Call("submit", each)]) for each in outputs), name=name, signature=signature)


def broken(name: str = "broken") -> ReAct:
    return says(Reply(error=AuthError("no key")), name=name)


async def test_a_part_shows_what_its_members_spent_together() -> None:
    result = await Majority(says("a"), says("b"), says("b")).run("?")
    assert result.outputs == {"answer": "b"}
    assert result.detail == "2 of 3 agree"
    assert result.spent == Spend(steps=3, tokens=45)
    assert result.usage.tokens == 45
    assert result.steps == 3


async def test_the_limits_of_a_part_hold_for_all_its_members() -> None:
    voter = says("yes")
    team = Majority(voter, votes=10, at_once=1, limits=Limits(steps=4))
    result = await team.run("?")
    assert result.spent.steps == 4
    assert result.detail == "4 of 10 agree"


async def test_a_part_under_an_agent_spends_from_its_budget_and_is_delegated_to(recorder: Recorder) -> None:
    team = Majority(says("yes", name="voter"), votes=3, name="vote")
    asks = [Reply(calls=[Call("vote", {"question": "really?"})]), "They say yes."]
    boss = ReAct("question -> answer", [team], lm=scripted_lm(asks)[0], name="boss", sinks=[recorder])
    result = await boss.run("?")
    assert result.ok
    assert result.spent == Spend(steps=5, tool_calls=1 + 3, tokens=75)
    parents = {event.parent_run_id for event in recorder.of(RunStarted)[1:]}
    assert parents == {result.run_id}
    only_vote = [SecurityPolicy(resource=name, actions=["*"]) for name in ("model:*", "agent:vote")]
    boss = ReAct("question -> answer", [team], lm=scripted_lm(asks)[0], policy=Policy(rules=only_vote))
    refused = await boss.run("?")
    assert refused.spent.steps == 2
    assert "denied" in str(refused.messages)


async def test_what_votes_below_an_agent_is_not_asked_again_when_that_is_resumed(tmp_path: Path) -> None:
    asked = 0

    def voter(request: Request, number: int) -> str:
        nonlocal asked
        asked += 1
        return f"{asked % 2}"

    def script(request: Request, number: int) -> Reply | str:
        turn = sum(message.role == "assistant" for message in request.messages)
        return [Reply(calls=[Call("vote", {"question": "?"}, "1")]), Reply("Done.")][turn]

    def boss(journal: Journal) -> ReAct:
        member = ReAct("question -> answer", lm=scripted_lm(voter)[0], name="voter")
        team = Majority(member, votes=3, name="vote")
        return ReAct("question -> answer", [team], lm=scripted_lm(script)[0], name="boss", journal=journal)

    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await boss(journal).run("?")
        journal.rewind(result.run_id, 1)
        import sqlite3

        with sqlite3.connect(journal.path) as connection:
            connection.execute("DELETE FROM steps WHERE run_id = ? AND name LIKE 'tool/%'", (result.run_id,))
        connection.close()
        again = await boss(journal).resume(result.run_id)
    assert again.outputs == result.outputs
    assert again.messages[2] == result.messages[2]
    assert asked == 3


async def test_the_votes_of_members_that_fail_do_not_count() -> None:
    assert (await Majority(broken(), says("b"), says("a")).run("?")).outputs == {"answer": "b"}
    result = await Majority(broken(), broken()).run("?")
    assert result.reason is StopReason.ERROR
    assert "broken: " in result.detail


async def test_many_tasks_keep_their_order_and_no_more_run_at_once_than_may() -> None:
    running, most = 0, 0

    def shout(request: Request, number: int) -> Reply:
        return Reply(request.messages[-1].text.upper(), delay=0.01 * (5 - number % 5))

    class Counts(ReAct):
        async def start(self, *given: Any) -> Result:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await super().start(*given)
            finally:
                running -= 1

    member = Counts("word -> shouted", lm=scripted_lm(shout)[0], name="shouts")
    words = [f"w{number}" for number in range(12)]
    result = await FanOut(member, at_once=3).run(words)
    assert result.outputs == {"answers": [word.upper() for word in words]}
    assert most == 3
    results = await fan_out(member, words, at_once=2)
    assert [r.text for r in results] == [word.upper() for word in words]


async def test_a_task_that_fails_leaves_the_others_be() -> None:
    def script(request: Request, number: int) -> Reply | str:
        return Reply(error=AuthError("no")) if "bad" in request.messages[-1].text else "fine"

    member = ReAct("word -> said", lm=scripted_lm(script)[0], name="m")
    result = await FanOut(member).run(["good", "bad"])
    assert result.outputs == {"answers": ["fine", None]}
    assert result.ok
    assert "1 of 2 tasks came to no answer: 1: " in result.detail
    assert (await FanOut(member).run(["bad", "bad"])).outputs is None
    assert "more than the 3" in (await FanOut(member, most=3).run(["x"] * 4)).detail
    pair = ReAct("word, other -> said", lm=scripted_lm(["joined"])[0], name="pair")
    assert (await FanOut(pair).run([{"word": "a", "other": "b"}, {"word": "a"}])).outputs == {
        "answers": ["joined", None]
    }


async def test_a_judge_that_accepts_nothing_or_fails_is_said() -> None:
    signature = "question, answer -> accepted: bool, critique: str"
    refuses = submits({"accepted": False, "critique": "too short"}, signature=signature)
    result = await Judged(says("a", "b"), refuses, rounds=2).run("?")
    assert result.outputs is None
    assert result.detail == "the judge accepted none of 2 answers; of the last it says: too short"
    dumb = ReAct(signature, lm=scripted_lm([Reply(error=AuthError("no"))])[0])
    assert "no verdict" in (await Judged(says("a"), dumb).run("?")).detail
    with pytest.raises(DefinitionError, match="one bool"):
        Judged(says("a"), says("b"))
    with pytest.raises(DefinitionError, match="other, which the generator has not"):
        Judged(says("a"), submits(signature="other -> accepted: bool"))


async def test_the_generator_is_told_what_was_wrong() -> None:
    lm, engine = scripted_lm(["first", "second"])
    writer = ReAct("question -> answer", lm=lm)
    verdicts = ({"accepted": False, "critique": "too short"}, {"accepted": True, "critique": ""})
    judge = submits(*verdicts, signature="answer -> accepted: bool, critique: str")
    assert (await Judged(writer, judge).run("Why?")).outputs == {"answer": "second"}
    assert engine.requests[1].messages[0].text == "Why?\n\nThis answer was refused:\nfirst\n\nWhy: too short"


async def test_scores_choose_and_answers_without_a_score_do_not_win() -> None:
    judge = submits({"score": 2.5}, {"score": 7}, {"score": 1}, signature="answer -> score: float")
    team = BestOf(says("a", "b", "c"), judge, at_once=1)
    assert (await team.run("?")).outputs == {"answer": "b"}

    def fails(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
        return 1.0 if outputs["answer"] == "c" else 1 / 0

    assert (await BestOf(says("a", "b", "c"), fails, at_once=1).run("?")).outputs == {"answer": "c"}
    assert "no score" in (await BestOf(says("a"), lambda i, o: 1 / 0).run("?")).detail


async def test_a_cascade_asks_the_strong_one_only_where_the_cheap_one_will_not_do() -> None:
    strong = says("strong", name="strong")
    good = Cascade(says("cheap"), strong, good=lambda result: len(result.text) > 3)
    assert (await good.run("?")).spent.steps == 1
    bad = Cascade(says("?"), strong, good=lambda result: len(result.text) > 3)
    assert (await bad.run("?")).outputs == {"answer": "strong"}
    raising = Cascade(says("cheap"), strong, good=lambda result: 1 / 0 > 0)
    assert (await raising.run("?")).outputs == {"answer": "strong"}
    lost = Cascade(says("poor"), broken(), good=lambda result: False)
    assert (await lost.run("?")).outputs == {"answer": "poor"}


async def test_a_rule_that_fails_goes_to_the_default_or_is_said() -> None:
    routes = {"a": says("from a"), "b": says("from b")}
    assert (await Router(lambda inputs: "b", routes).run("?")).outputs == {"answer": "from b"}
    assert (await Router(lambda inputs: inputs["nope"], routes, default="a").run("?")).outputs == {"answer": "from a"}
    assert "the rule failed with KeyError" in (await Router(lambda inputs: inputs["nope"], routes).run("?")).detail
    assert "'c' is none of the routes a, b" in (await Router(lambda inputs: "c", routes).run("?")).detail
    asked = Router(says(" b ", signature="question -> route"), routes)
    assert (await asked.run("?")).outputs == {"answer": "from b"}


async def test_all_members_failing_is_a_result_too() -> None:
    assert (await Fallback(broken(), says("c")).run("?")).outputs == {"answer": "c"}
    result = await Fallback(broken(), broken()).run("?")
    assert (result.outputs, result.reason) == (None, StopReason.ERROR)
    late = Fallback(says(Reply("late", delay=30), limits=Limits(seconds=0.2)), says("in time"))
    assert (await late.run("?")).outputs == {"answer": "in time"}
    with pytest.raises(DefinitionError, match="no agent"):
        Fallback(cast("Any", "broken"))


async def test_parts_combine() -> None:
    votes = Majority(says("x", "y", "y"), votes=3, at_once=1)
    team = Fallback(broken(), votes, name="team")
    result = await team.run("?")
    assert result.outputs == {"answer": "y"}
    assert result.spent.steps == 4


async def test_a_hundred_parts_at_once_share_what_a_budget_has() -> None:
    shared = Budget(Limits(steps=150))
    team = Majority(says("y"), votes=3, budget=shared)
    results = await asyncio.gather(*(team.run("?") for _ in range(100)))
    assert shared.spent.steps == 150
    assert sum(result.spent.steps for result in results) == 150


async def test_a_member_can_not_bring_a_budget_that_its_team_does_not_spend_from() -> None:
    own = Budget(Limits(steps=9))
    assert "give the budget to its team" in (await Fallback(says("y", budget=own)).run("?")).detail
    assert (await Fallback(says("y", budget=own), budget=own).run("?")).ok
    assert own.spent.steps == 1


def test_optimisers_see_the_predictors_of_all_members() -> None:
    team = Fallback(says("a", name="one"), says("b", name="two"))
    module: Any = team
    assert len(module.predictors()) == 2
    trace: list[Any] = []
    with cast("Any", dspy).context(trace=trace):
        prediction: Any = team(question="?")
    assert prediction.answer == "a"
    assert [entry[0] for entry in trace] == [cast("Any", team.members[0]).predict]
