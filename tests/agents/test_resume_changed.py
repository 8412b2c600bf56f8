"""A run that is resumed by an agent that is not as it was: what matters is an error, what does not is told."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import dspy
import pydantic
import pytest

from corral.agents import Agent, AgentChanged, CodeAct, Journal, ReAct, StopReason, delegate
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Limits, Policy, ResumeWarned, SecurityPolicy
from corral.sandbox import MontyProvider
from corral.tools import Tool, tool

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])

Done = list[str]


def tools(done: Done) -> dict[str, Tool]:
    @tool(effect="once")
    def send(to: str) -> str:
        """Send."""
        done.append(f"send {to}")
        return f"sent to {to}"

    @tool(effect="read")
    def look(what: str) -> str:
        """Look."""
        done.append(f"look {what}")
        return f"saw {what}"

    @tool(effect="read")
    def spare() -> str:
        """Never called."""
        return ""

    return {"look": look, "send": send, "spare": spare}


TURNS = {
    "react": [
        Reply(calls=[Call("look", {"what": "a"}, "1"), Call("count", {"of": "a"}, "2")]),
        Reply(calls=[Call("send", {"to": "ann"}, "3"), Call("look", {"which": "b"}, "4")]),
        Reply("All sent."),
    ],
    "code": [
        Reply(calls=[Call("python", {"code": "x = look(what='a')\nprint(x)"}, "1")]),
        Reply(calls=[Call("python", {"code": "print(send(to='ann'), x)"}, "2")]),
        Reply("All sent."),
    ],
}


def by_turn(turns: list[Reply]) -> Any:
    def script(request: Any, number: int) -> Reply:
        return turns[min(len(turns) - 1, sum(message.role == "assistant" for message in request.messages))]

    return script


def make(kind: str, given: Any, journal: Journal, signature: Any = "question -> answer", **more: Any) -> Agent:
    options: dict[str, Any] = {
        "lm": scripted_lm(by_turn(TURNS[kind]))[0],
        "policy": EVERYTHING,
        "journal": journal,
        **more,
    }
    if kind == "code":
        return CodeAct(signature, list(given), sandbox=MontyProvider(), **options)
    return ReAct(signature, list(given), **options)


async def stopped(kind: str, journal: Journal, done: Done, signature: Any = "question -> answer") -> str:
    """A run that a limit stopped after its second step."""
    result = await make(kind, tools(done).values(), journal, signature, limits=Limits(steps=3)).run("go")
    assert result.reason is StopReason.STEPS
    journal.rewind(result.run_id, 2)
    return result.run_id


def only(done: Done, *names: str) -> list[Tool]:
    return [tools(done)[name] for name in names]


class Place(pydantic.BaseModel):
    name: str = pydantic.Field(description="Of a town.")


class Wider(pydantic.BaseModel):
    name: str
    country: str


Wider.__name__ = Wider.__qualname__ = "Place"


class Asked(dspy.Signature):
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
    place: Place | None = dspy.OutputField()


class AskedWider(dspy.Signature):
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
    place: Wider | None = dspy.OutputField()


@pytest.mark.parametrize(
    ("kind", "first", "other", "missing", "said", "step"),
    [
        (
            "react",
            "question -> answer",
            "question -> total: int",
            (),
            "its signature was 'question: str -> answer: s",
            0,
        ),
        ("react", "question -> answer", "topic -> answer", (), "missing input 'topic'", None),
        ("react", Asked, AskedWider, (), "the types of its outputs in", 0),
        ("react", "question -> answer", None, ("send",), "it has no tool 'send', which was called in step 2", 1),
        ("react", "question -> answer", None, ("look", "send"), "it has no tool 'look', which was called in step 1", 0),
        ("code", "question -> answer", None, ("send",), "it has no tool 'send', which was called in step 2", 1),
    ],
)
async def test_what_recorded_steps_need_and_is_not_there_is_said_before_anything_happens(
    tmp_path: Path, kind: str, first: Any, other: Any, missing: tuple[str, ...], said: str, step: int | None
) -> None:
    done: Done = []
    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped(kind, journal, done, first)
        before, events = list(done), list(journal.events(run_id))
        names = [name for name in tools(done) if name not in missing]
        agent = make(kind, only(done, *names), journal, other or first)
        with pytest.raises(AgentChanged) as raised:
            await agent.resume(run_id)
        assert said in str(raised.value)
        assert (raised.value.run_id, raised.value.step) == (run_id, step)
        assert (done, list(journal.events(run_id))) == (before, events)
        if step is not None:
            assert f"a fork of the run at step {step}" in str(raised.value)
            if kind == "react" and missing:  # with less, it goes another way, and not past what it can't do
                forked = await agent.resume(journal.fork(run_id, step))
                assert forked.ok
                assert f"there is no tool named {missing[0]!r}" in str(forked.messages)
            journal.rewind(run_id, step)
            assert (await agent.resume(run_id)).reason is not StopReason.ERROR


async def test_a_run_that_ran_code_is_not_resumed_by_an_agent_that_runs_none(tmp_path: Path) -> None:
    done: Done = []
    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped("code", journal, done)
        with pytest.raises(AgentChanged, match="runs no code, which it did in step 1"):
            await make("react", tools(done).values(), journal).resume(run_id)


async def test_policy_limits_and_model_may_be_others_without_a_word(tmp_path: Path, recorder: Recorder) -> None:
    done: Done = []
    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped("react", journal, done)
        lm, _ = scripted_lm(["Another model says so."], model="other/model")
        more: dict[str, Any] = {"policy": Policy.safe(), "limits": Limits(steps=50, tokens=10**6), "lm": lm}
        result = await make("react", tools(done).values(), journal, sinks=[recorder], **more).resume(run_id)
    assert result.outputs == {"answer": "Another model says so."}
    assert done == ["look a", "send ann"]
    assert recorder.of(ResumeWarned) == []


class Instructed(dspy.Signature):
    """Answer briefly."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="In a word.")


async def test_what_does_no_harm_is_told_once_in_an_event(tmp_path: Path, recorder: Recorder) -> None:
    done: Done = []

    @tool(effect="read")
    def fresh() -> str:
        """New."""
        return ""

    @tool(name="look", effect="read")
    def look_closer(which: int) -> str:
        """Look, but by number."""
        done.append("looked by number")
        return ""

    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped("react", journal, done)
        given = [look_closer, *only(done, "send"), fresh]
        agent = make("react", given, journal, Instructed, sinks=[recorder], limits=Limits(steps=1))
        await agent.resume(run_id)
        result = await make("react", given, journal, Instructed, sinks=[recorder]).resume(run_id)
        kept = [event for event in journal.events(run_id) if event["type"] == "ResumeWarned"]
    assert result.ok
    assert done == ["look a", "send ann"]
    assert "saw a" in str(result.messages)
    (told,) = recorder.of(ResumeWarned)
    assert told.changes == (
        "its instructions are others",
        "new tools: fresh",
        "tools that are gone, and were never called: spare",
        "tools that are defined otherwise: look",
    )
    assert [event["changes"] for event in kept] == [list(told.changes)]


async def test_a_call_that_could_not_be_made_then_is_not_made_by_a_resume_now(tmp_path: Path) -> None:
    done: Done = []

    @tool(effect="once")
    def count(of: str) -> str:
        """There was none when the model called it."""
        done.append("counted")
        return "7"

    @tool(name="look", effect="read")
    def look(what: str = "", which: str = "") -> str:
        """Takes by now what it refused."""
        done.append("looked again")
        return ""

    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped("react", journal, done)
        before = journal.messages(run_id)
        result = await make("react", [look, *only(done, "send", "spare"), count], journal).resume(run_id)
    assert result.ok
    assert done == ["look a", "send ann"]
    assert list(result.messages)[: len(before)] == before
    assert "there is no tool named 'count'" in str(before)


async def test_with_nothing_recorded_a_run_may_be_resumed_with_another_signature(tmp_path: Path) -> None:
    done: Done = []
    with Journal(tmp_path / "runs.sqlite3") as journal:
        fork = journal.fork(await stopped("react", journal, done), 0)
        lm, _ = scripted_lm([Reply(calls=[Call("submit", {"total": 3})])])
        agent = make("react", [], journal, "question -> total: int", lm=lm)
        assert (await agent.resume(fork)).outputs == {"total": 3}
        assert (await agent.resume(fork)).outputs == {"total": 3}


async def test_a_run_of_a_journal_that_knows_nothing_of_its_agent_still_needs_the_tools_it_called(
    tmp_path: Path,
) -> None:
    done: Done = []
    with Journal(tmp_path / "runs.sqlite3") as journal:
        run_id = await stopped("react", journal, done)
        with sqlite3.connect(journal.path) as connection:
            connection.execute("UPDATE runs SET opening = json_remove(opening, '$.made')")
        connection.close()
        with pytest.raises(AgentChanged, match="no tool 'send'"):
            await make("react", only(done, "look"), journal).resume(run_id)
        assert (await make("react", only(done, "look", "send"), journal).resume(run_id)).ok


@pytest.mark.parametrize("changed", ["signature", "tool"])
@pytest.mark.parametrize("kind", ["react", "code"])
async def test_an_agent_that_was_delegated_to_is_held_to_the_same(tmp_path: Path, kind: str, changed: str) -> None:
    done: Done = []
    stop = True

    @tool(effect="read")
    async def pause() -> str:
        """Hangs at first."""
        if stop:
            paused.set()
            await anyio.sleep_forever()
        return ""

    paused = anyio.Event()
    below = [*TURNS["react"][:2], Reply(calls=[Call("pause", {}, "5")]), TURNS["react"][2]]
    first = Call("helper", {"question": "go"}) if kind == "react" else Call("python", {"code": "helper(question='go')"})

    def team(signature: str, given: list[Tool]) -> Agent:
        helper = make("react", [*given, pause], journal, signature, name="helper", lm=scripted_lm(by_turn(below))[0])
        lm, _ = scripted_lm(by_turn([Reply(calls=[first]), Reply("Done.")]))
        kind_of = ReAct if kind == "react" else CodeAct
        more: dict[str, Any] = {} if kind == "react" else {"sandbox": MontyProvider()}
        return kind_of("question -> answer", [delegate(helper)], lm=lm, policy=EVERYTHING, journal=journal, **more)

    with Journal(tmp_path / "runs.sqlite3") as journal:
        async with anyio.create_task_group() as group:
            group.start_soon(team("question -> answer", list(tools(done).values())).run, "go")
            with anyio.fail_after(5):
                await paused.wait()
            group.cancel_scope.cancel()
        stop = False
        (run_id,) = [row["run_id"] for row in journal.runs() if row["agent"] == "main"]
        other = "question -> answer, total: int" if changed == "signature" else "question -> answer"
        given = list(tools(done).values()) if changed == "signature" else only(done, "look", "spare")
        said = "the agent 'helper' as it is now: " + ("its sign" if changed == "signature" else "it has no tool 'send'")
        with pytest.raises(AgentChanged, match=said) as raised:
            await team(other, given).resume(run_id)
        assert raised.value.step is None
        result = await team("question -> answer", list(tools(done).values())).resume(run_id)
    assert result.ok
    assert done == ["look a", "send ann"]


@pytest.mark.parametrize("native", [True, False])
async def test_a_resume_by_a_model_that_calls_in_another_way_loses_no_call(tmp_path: Path, native: bool) -> None:
    done: Done = []

    def script(request: Any, number: int) -> Reply:
        said = sum(message.role == "assistant" for message in request.messages)
        if said == 2:
            return Reply("Both sent.")
        to = ("ann", "bob")[said]
        if request.tools:
            return Reply(calls=[Call("send", {"to": to}, to)])
        return Reply("[[ ## tool_calls ## ]]\n" + json.dumps([{"name": "send", "args": {"to": to}}]))

    def agent(calls: bool, steps: int) -> Agent:
        lm, _ = scripted_lm(script, native=calls)
        return make("react", only(done, "send"), journal, lm=lm, limits=Limits(steps=steps))

    with Journal(tmp_path / "runs.sqlite3") as journal:
        first = await agent(native, 9).run("go")
        fork = journal.fork(first.run_id, 1)
        other = await agent(not native, 9).resume(fork)
        again = await agent(native, 9).resume(fork)
    assert done == ["send ann", "send bob", "send bob"]
    for result in (first, other, again):
        assert result.outputs == {"answer": "Both sent."}
        assert [str(message).count("sent to") for message in result.messages] == [0, 0, 1, 0, 1, 0]
    assert again.messages == other.messages
