"""After a run, what was said becomes what is known: off the reply's way, within a budget, leaving nothing behind."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspy.lm15 import Request, ServerError

from corral.agents import Consolidation, DefinitionError, Journal, ModelSpec, ReAct, Session
from corral.agents.testing import Reply, ScriptedServer, scripted_lm
from corral.memory import Memory, Pending, Scope, Turn
from corral.policy import (
    Budget,
    Consolidated,
    Gate,
    Label,
    Limits,
    MemoryAudit,
    Mode,
    Policy,
    RunFinished,
    SecurityPolicy,
)

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
SCOPE = Scope("local", "main")
FACT = json.dumps([{"fact": "Ada lives in Porto", "cites": [1]}])


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncGenerator[Memory]:
    async with Memory(tmp_path / "memory") as opened:
        yield opened


async def say(memory: Memory, *texts: str) -> None:
    turns = [Turn("user", text, Label.user()) for text in texts]
    await Gate(EVERYTHING).perform(
        memory.action("write", SCOPE), lambda admission: memory.remember(turns, SCOPE, admission=admission)
    )


async def facts(memory: Memory) -> list[str]:
    async def lines(admission: Any) -> list[str]:
        return [line["text"] async for line in memory.export(SCOPE, admission=admission) if line["kind"] == "fact"]

    return await Gate(EVERYTHING).perform(memory.action("read", SCOPE), lines)


def is_consolidating(request: Request) -> bool:
    return "Name the facts worth knowing" in str(request)


def answering(request: Request, number: int) -> Reply:
    return Reply(FACT if is_consolidating(request) else "fine")


class Slow:
    """A model that answers tasks, and takes a minute for a consolidation; `asked` is set when that has begun."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def __call__(self, request: Request, number: int) -> Reply:
        if not is_consolidating(request):
            return Reply("fine")
        self.asked.set()
        return Reply(FACT, delay=60)


def agent(memory: Memory, script: Any = answering, **options: Any) -> tuple[ReAct, Any]:
    lm, engine = scripted_lm(script)
    given: dict[str, Any] = {"policy": EVERYTHING, "consolidate": Consolidation(after=3), **options}
    return ReAct("question -> answer", lm=lm, memory=memory, **given), engine


async def test_what_was_said_in_runs_becomes_facts_once_enough_has_gathered(memory: Memory, recorder: Recorder) -> None:
    await say(memory, "I moved to Porto")
    audit = MemoryAudit()
    made, engine = agent(memory, sinks=[recorder], audit=audit)
    async with made:
        await made.run("hello")  # two turns of its own, so three
    assert await facts(memory) == ["Ada lives in Porto"]
    (done,) = recorder.of(Consolidated)
    assert (done.turns, done.facts, done.model_calls, done.usage.tokens, done.detail) == (3, 1, 1, 15, "")
    assert [is_consolidating(request) for request in engine.requests] == [False, True]
    intents = [(record.resource, record.verb) for record in audit.records if record.entry == "intent"]
    assert intents[-2:] == [("memory:long/local/main", "write"), ("model:scripted/model", "generate")]


async def test_nothing_is_asked_that_nobody_asked_for_or_before_enough_has_gathered(memory: Memory) -> None:
    await say(memory, *(f"turn {number}" for number in range(50)))
    made, engine = agent(memory, consolidate=False)
    async with made:
        await made.run("hello")
    assert len(engine.requests) == 1
    made, engine = agent(memory, consolidate=Consolidation(after=60))
    async with made:
        await made.run("hello")
    assert len(engine.requests) == 1


async def test_the_reply_does_not_wait_for_it(memory: Memory, recorder: Recorder) -> None:
    await say(memory, "a", "b", "c")
    slow = Slow()
    made, engine = agent(memory, slow, sinks=[recorder])
    tasks = len(asyncio.all_tasks())
    with anyio.fail_after(10):
        async with made:
            result = await made.run("hello")
            assert result.outputs == {"answer": "fine"}
            await slow.asked.wait()
            await made.run("and again")  # while it goes on, none is begun
            await made.consolidated(0.01)
    assert len(asyncio.all_tasks()) == tasks
    assert await facts(memory) == []
    assert recorder.of(Consolidated) == []
    assert [is_consolidating(request) for request in engine.requests].count(True) == 1
    assert (await memory.pending(SCOPE)).turns == 7


async def test_an_agent_that_is_left_by_an_error_leaves_no_task(memory: Memory) -> None:
    await say(memory, "a", "b", "c")
    slow = Slow()
    made, _ = agent(memory, slow)
    tasks = len(asyncio.all_tasks())

    async def failing() -> None:
        async with made:
            await made.run("hello")
            await slow.asked.wait()
            raise LookupError

    with anyio.fail_after(10), pytest.raises(LookupError):
        await failing()
    assert len(asyncio.all_tasks()) == tasks


async def test_it_is_cancelled_with_who_waits_for_it(memory: Memory) -> None:
    await say(memory, "a", "b", "c")
    slow = Slow()
    made, _ = agent(memory, slow)
    tasks = len(asyncio.all_tasks())

    async def work() -> None:
        async with made:
            await made.run("hello")

    with anyio.fail_after(10):
        task = asyncio.create_task(work())
        await slow.asked.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert len(asyncio.all_tasks()) == tasks
    assert (await memory.pending(SCOPE)).turns == 5


def test_a_program_that_ends_at_once_ends(tmp_path: Path) -> None:
    async def program() -> str:
        memory = Memory(tmp_path / "memory")
        await say(memory, "a", "b", "c")
        made, _ = agent(memory, Slow())
        return str((await made.run("hello")).outputs)

    assert asyncio.run(asyncio.wait_for(program(), 10)) == "{'answer': 'fine'}"


def test_the_sync_door_waits_for_it_at_the_end(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory")
    asyncio.run(say(memory, "I moved to Porto", "b", "c"))
    made, _ = agent(memory)
    with made:
        assert made.run_sync("hello").ok
    assert asyncio.run(facts(memory)) == ["Ada lives in Porto"]
    asyncio.run(memory.close())


async def test_each_question_is_in_a_budget_of_its_own(memory: Memory, recorder: Recorder) -> None:
    await say(memory, *(f"turn {number}" for number in range(200)))
    made, engine = agent(memory, sinks=[recorder], limits=Limits(steps=1))
    async with made:
        result = await made.run("hello")
    assert result.spent.steps == 1
    assert len(engine.requests) == 2, "a consolidation may cost what a run may, at the most"
    made, engine = agent(memory, sinks=[recorder], consolidate=Consolidation(limits=Limits(steps=2)))
    async with made:
        await made.run("hello")
    assert [is_consolidating(request) for request in engine.requests].count(True) == 2
    assert [done.turns for done in recorder.of(Consolidated)] == [40, 80]


async def test_all_runs_and_consolidations_spend_from_the_agents_budget(memory: Memory, recorder: Recorder) -> None:
    await say(memory, "a", "b", "c")
    budget = Budget(Limits(steps=1))
    made, engine = agent(memory, sinks=[recorder], budget=budget)
    async with made:
        await made.run("hello")
    assert len(engine.requests) == 1
    assert "limit of 1 steps is reached" in recorder.of(Consolidated)[0].detail
    assert await memory.pending(SCOPE) == Pending(5), "no money is no failure of the model"


async def test_without_a_price_no_money_is_spent(memory: Memory, recorder: Recorder) -> None:
    await say(memory, "a", "b", "c")
    made, engine = agent(memory, sinks=[recorder], consolidate=Consolidation(after=3, limits=Limits(cost_usd=0.01)))
    async with made:
        await made.run("hello")
        await made.consolidated(10)
        await made.run("hello again")
    assert [is_consolidating(request) for request in engine.requests] == [False, False]
    (told,) = recorder.of(Consolidated)
    assert "the price of scripted/model is not known" in told.detail


async def test_tokens_that_would_not_do_for_a_question_are_not_spent(memory: Memory, recorder: Recorder) -> None:
    await say(memory, *("word " * 190 for _ in range(40)))
    wish = Consolidation(after=3, limits=Limits(tokens=5000))
    made, engine = agent(memory, sinks=[recorder], consolidate=wish)
    async with made:
        await made.run("hello")
    needed = re.search(r"limit of 5000 tokens leaves 5000, and (\d+) are needed", recorder.of(Consolidated)[0].detail)
    assert needed is not None
    wish = Consolidation(after=3, limits=Limits(tokens=int(needed[1]) + 100))
    other, again = agent(memory, sinks=[recorder], consolidate=wish)
    async with other:
        await other.run("hello")
    assert "tokens leaves" in recorder.of(Consolidated)[1].detail
    assert not any(is_consolidating(request) for request in (*engine.requests, *again.requests))


@pytest.mark.parametrize(
    "options",
    [
        {"policy": Policy(rules=[SecurityPolicy(resource="*", actions=["*"]),
                                 SecurityPolicy(resource="memory:long/*", actions=["write"], effect="deny")])},
        {"policy": Policy(rules=[SecurityPolicy(resource="*", actions=["*"]),
                                 SecurityPolicy(resource="memory:long/*", actions=["write"], effect="ask")])},
        {"mode": Mode.PLAN},
    ],
)  # fmt: skip
async def test_what_the_policy_does_not_allow_does_not_happen_and_is_told_once(
    memory: Memory, recorder: Recorder, options: dict[str, Any]
) -> None:
    await say(memory, "a", "b", "c")
    made, engine = agent(memory, sinks=[recorder], **options)
    async with made:
        await made.run("hello")
        await made.consolidated(10)
        await made.run("hello")
    assert not any(is_consolidating(request) for request in engine.requests)
    (told,) = recorder.of(Consolidated)
    assert told.detail.startswith("denied: write memory:long/local/main")
    assert "approver=" not in told.detail


@pytest.mark.parametrize("said", [Reply("I can't"), Reply(error=ServerError("down"))])
async def test_a_model_of_no_help_is_not_asked_again_at_once(memory: Memory, recorder: Recorder, said: Reply) -> None:
    await say(memory, "a", "b", "c")
    asked: list[bool] = []

    def failing(request: Request, number: int) -> Reply:
        if is_consolidating(request):
            asked.append(True)
            return said
        return Reply("fine")

    made, _ = agent(memory, failing, sinks=[recorder])
    async with made:
        assert (await made.run("hello")).ok
        await made.consolidated(20)
        first = len(asked)
        await made.run("hello")
    assert first >= 1
    assert len(asked) == first
    assert [bool(done.detail) for done in recorder.of(Consolidated)] == [True]
    made, _ = agent(memory, consolidate=Consolidation(after=3, pause=0))
    async with made:
        await made.run("hello")
    assert await facts(memory) == ["Ada lives in Porto"]


async def test_another_model_may_do_it_and_its_connections_are_closed(memory: Memory) -> None:
    await say(memory, "a", "b", "c")
    with ScriptedServer([FACT]) as server:
        cheap = ModelSpec(model="openai/cheap", api_base=server.url)
        made, engine = agent(memory, consolidate=Consolidation(after=3, model=cheap))
        async with made:
            await made.run("hello")
    assert len(engine.requests) == 1
    assert await facts(memory) == ["Ada lives in Porto"]


async def test_turns_of_a_session_are_consolidated_and_whoever_hears_them_is_told(
    memory: Memory, recorder: Recorder, tmp_path: Path
) -> None:
    await say(memory, "I moved to Porto")
    with Journal(tmp_path / "runs.sqlite3") as journal:
        made, _ = agent(memory, journal=journal)
        async with made:  # the journal is a sink of the run, too
            await Session(made, sinks=[recorder, journal]).run("hello")
        assert len(journal.runs()) == 1
        (run,) = journal.runs()
        assert [event["type"] for event in journal.events(run["run_id"])][-1] == "RunFinished"
    connection = sqlite3.connect(tmp_path / "runs.sqlite3")
    assert connection.execute("select distinct run_id from events").fetchall() == [(run["run_id"],)]
    connection.close()
    kinds = [type(event) for event in recorder.events]
    assert kinds.index(RunFinished) < kinds.index(Consolidated)


async def test_two_agents_at_once_ask_once(tmp_path: Path, memory: Memory) -> None:
    await say(memory, "I moved to Porto", "b", "c")
    first, one = agent(memory)
    async with Memory(tmp_path / "memory") as same:
        second, other = agent(same)
        async with first, second, anyio.create_task_group() as group:
            group.start_soon(first.run, "hello")
            group.start_soon(second.run, "hello")
    asked = [is_consolidating(request) for request in (*one.requests, *other.requests)]
    # Whoever comes second finds what the first has left, which is not enough, or that the first is at it.
    assert asked.count(True) == 1
    assert await facts(memory) == ["Ada lives in Porto"]


def test_what_makes_no_sense_is_said_when_the_agent_is_made(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="there is none; pass memory="):
        ReAct("question -> answer", lm="openai/m", consolidate=True)
    with pytest.raises(DefinitionError, match="after 1 turn"):
        Consolidation(after=0)
