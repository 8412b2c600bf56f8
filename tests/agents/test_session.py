import asyncio
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from dspy.lm15 import Request

from corral.agents import Journal, JournalError, ReAct, Session
from corral.agents.testing import Call, Reply, scripted_lm
from corral.memory import Memory
from corral.policy import (
    Approval,
    ApprovalRequest,
    GrantScope,
    Mode,
    Policy,
    Recalled,
    Remembered,
    RunFinished,
    SecurityPolicy,
)
from corral.tools import tool

from .conftest import Recorder


async def test_a_turn_sees_the_turns_before_it() -> None:
    lm, engine = scripted_lm(["one", "two"])
    session = Session(ReAct("question -> answer", lm=lm))
    await session.run("first?")
    await session.run("second?")
    said = [message.text for message in engine.requests[1].messages]
    assert said == ["first?", "one", "second?"]
    assert engine.requests[1].messages[:2] == tuple(session.messages[:2])


async def test_a_cleared_session_starts_anew() -> None:
    lm, engine = scripted_lm(["one"])
    session = Session(ReAct("question -> answer", lm=lm))
    await session.run("first?")
    session.clear()
    await session.run("second?")
    assert [message.text for message in engine.requests[1].messages] == ["second?"]


async def test_a_turn_that_was_cut_off_leaves_a_conversation_that_a_model_takes() -> None:
    started = anyio.Event()

    @tool(effect="read")
    async def hang() -> str:
        """Hang."""
        started.set()
        await anyio.sleep_forever()
        return ""

    def script(request: object, number: int) -> Reply:
        return Reply(calls=[Call("hang")]) if number == 0 else Reply("better")

    lm, engine = scripted_lm(script)
    session = Session(ReAct("question -> answer", [hang], lm=lm))
    turn = asyncio.create_task(session.run("first?"))
    with anyio.fail_after(5):
        await started.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    await session.run("second?")
    assert [message.text for message in engine.requests[1].messages] == ["first?", "second?"]


async def test_what_was_said_is_recalled_in_another_session(tmp_path: Path, recorder: Recorder) -> None:
    lm, engine = scripted_lm(["Noted.", "At the elm."])
    async with Memory(tmp_path) as memory:
        agent = ReAct("question -> answer", lm=lm, memory=memory, sinks=[recorder])
        await Session(agent).run("My horse Bruno stands at the old elm.")
        await Session(agent).run("Where does Bruno stand?")
    asked = engine.requests[1].messages[-1].text or ""
    assert "Bruno stands at the old elm" in asked
    assert asked.endswith("Where does Bruno stand?")
    assert [event.count for event in recorder.of(Recalled)] == [0, len(asked.split("\n- ")) - 1]
    assert len(recorder.of(Remembered)) == 2


async def test_recalled_text_is_not_remembered_again(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["ok"])
    async with Memory(tmp_path) as memory:
        agent = ReAct("question -> answer", lm=lm, memory=memory)
        for _ in range(4):
            await agent.run("The gate code is 4711.")
        assert (await memory.stats())["episodes"] <= 8


async def test_a_policy_that_refuses_memory_leaves_the_run_alone(tmp_path: Path, recorder: Recorder) -> None:
    lm, engine = scripted_lm(["ok"])
    policy = Policy(rules=[SecurityPolicy(resource="model:*", actions=["generate"])])
    async with Memory(tmp_path) as memory:
        agent = ReAct("question -> answer", lm=lm, memory=memory, policy=policy, sinks=[recorder])
        result = await agent.run("Remember this.")
        await agent.run("What?")
    assert result.ok
    assert recorder.of(Recalled, Remembered) == []
    assert engine.requests[1].messages[-1].text == "What?"


async def test_a_broken_memory_ends_the_run_with_a_sentence(tmp_path: Path, recorder: Recorder) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    lm, engine = scripted_lm(["ok"])
    async with Memory(blocked) as memory:
        result = await ReAct("question -> answer", lm=lm, memory=memory, sinks=[recorder]).run("?")
    assert result.reason == "error"
    assert "memory" in result.detail
    assert engine.requests == []
    assert len(recorder.of(RunFinished)) == 1


async def test_a_session_is_had_back_from_the_journal(tmp_path: Path) -> None:
    lm, engine = scripted_lm(["one", "two", "three"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        session = Session(agent)
        await session.run("first?")
        await session.run("second?")
        loaded = Session.load(agent, session.id)
        await loaded.run("third?")
        assert Session.load(agent, session.id).messages == loaded.messages
        assert loaded.unfinished is None
        with pytest.raises(JournalError, match="no session other"):
            Session.load(agent, "other")
    assert [message.text for message in engine.requests[2].messages] == ["first?", "one", "second?", "two", "third?"]


async def test_a_turn_that_was_killed_is_resumed_in_its_session(tmp_path: Path) -> None:
    def script(request: Request, number: int) -> Reply:
        asked = request.messages[-1]
        return Reply(calls=[Call("note")]) if asked.text == "second?" else Reply(f"said {asked.text or 'noted'}")

    @tool(effect="read")
    def note() -> str:
        """Note."""
        return "noted"

    lm, _ = scripted_lm(script)
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", [note], lm=lm, journal=journal)
        session = Session(agent)
        await session.run("first?")
        last = await session.run("second?")
        journal.rewind(last.run_id, 1)
        loaded = Session.load(agent, session.id)
        assert loaded.unfinished == last.run_id
        assert [message.text for message in loaded.messages] == ["first?", "said first?"]
        result = await loaded.resume()
        assert result.run_id == last.run_id
        assert loaded.messages == session.messages
        await loaded.run("third?")
        assert Session.load(agent, session.id).messages == loaded.messages


async def test_turns_can_be_taken_back() -> None:
    lm, engine = scripted_lm(["one", "two", "three"])
    session = Session(ReAct("question -> answer", lm=lm))
    await session.run("first?")
    await session.run("second?")
    assert session.rewindable == 2
    assert session.rewind() == 1
    await session.run("again?")
    assert [message.text for message in engine.requests[2].messages] == ["first?", "one", "again?"]
    assert session.rewind(9) == 2
    assert session.messages == []


class ForTheSession:
    """Says yes once, for the session."""

    def __init__(self) -> None:
        self.asked = 0

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked += 1
        return Approval(request.digest, True, "user:ann", scope=GrantScope.SESSION)


def noting(done: list[str]) -> Callable[..., object]:
    @tool
    async def note(text: str) -> str:
        """Note."""
        done.append(text)
        return "noted"

    return note


def notes_in_each_turn(request: object, number: int) -> Reply:
    return Reply(calls=[Call("note", {"text": "x"})]) if number % 2 == 0 else Reply("ok")


async def test_a_yes_for_the_session_answers_its_later_turns_and_no_other_session() -> None:
    person, done = ForTheSession(), list[str]()
    lm, _ = scripted_lm(notes_in_each_turn)
    agent = ReAct("question -> answer", [noting(done)], lm=lm, approver=person)
    session = Session(agent)
    await session.run("first?")
    await session.run("second?")
    assert (person.asked, done) == (1, ["x", "x"])
    await Session(agent).run("elsewhere?")
    assert person.asked == 2


async def test_a_session_in_plan_mode_changes_nothing_until_it_is_left() -> None:
    done = list[str]()
    lm, _ = scripted_lm(notes_in_each_turn)
    agent = ReAct("question -> answer", [noting(done)], lm=lm, approver=ForTheSession(), mode=Mode.PLAN)
    session = Session(agent)
    await session.run("first?")
    assert done == []
    agent.mode = Mode.ENFORCE
    await session.run("do it")
    assert done == ["x"]


async def test_turns_of_an_earlier_process_can_be_taken_back(tmp_path: Path) -> None:
    lm, engine = scripted_lm(["one", "two", "three"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        session = Session(agent)
        await session.run("first?")
        await session.run("second?")
        loaded = Session.load(agent, session.id)
        assert loaded.rewindable == 2
        assert loaded.rewind() == 1
        assert loaded.rewindable == 1
        await loaded.run("again?")
        again = Session.load(agent, session.id)
        assert again.messages == loaded.messages
        assert again.rewind() == 1
    assert [message.text for message in engine.requests[2].messages] == ["first?", "one", "again?"]
    assert [message.text for message in again.messages] == ["first?", "one"]


async def test_a_turn_that_was_left_while_a_person_was_asked_asks_again(tmp_path: Path) -> None:
    asked = anyio.Event()
    happened: list[str] = []

    class Person:
        answers = False

        async def decide(self, request: ApprovalRequest) -> Approval:
            asked.set()
            if not self.answers:
                await anyio.sleep_forever()
            return Approval(request.digest, True, "user:test")

    @tool
    def act() -> str:
        """Act."""
        happened.append("act")
        return "done"

    def script(request: Request, number: int) -> Reply:
        return Reply("It is done.") if request.messages[-1].role == "tool" else Reply(calls=[Call("act")])

    lm, _ = scripted_lm(script)
    person = Person()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", [act], lm=lm, journal=journal, approver=person)
        session = Session(agent)
        turn = asyncio.create_task(session.run("Act."))
        with anyio.fail_after(5):
            await asked.wait()
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn
        loaded = Session.load(agent, session.id)
        assert (loaded.messages, loaded.unfinished is not None, happened) == ([], True, [])
        person.answers = True
        assert (await loaded.resume()).text == "It is done."
        assert (loaded.unfinished, happened) == (None, ["act"])


async def test_a_conversation_is_made_shorter_by_hand() -> None:
    lm, engine = scripted_lm([Reply("A long answer. " * 200), Reply("Another. " * 200), "three"])
    session = Session(ReAct("question -> answer", lm=lm))
    await session.run("first?")
    await session.run("second?")
    whole = list(session.messages)
    before, after = session.compact()
    assert after <= before * 0.6
    await session.run("third?")
    said = [message.text for message in engine.requests[2].messages]
    assert (said[0], said[-1]) == ("first?", "third?")
    assert session.rewind(2) == 2
    assert session.messages == whole


async def test_memory_says_nothing_twice_that_stands_in_the_conversation(tmp_path: Path) -> None:
    lm, engine = scripted_lm(["The hay is in the north barn.", "In the north barn.", "North."])
    async with Memory(tmp_path / "memory") as memory:
        agent = ReAct("question -> answer", lm=lm, memory=memory)
        first = Session(agent)
        await first.run("Where is the hay in the barn?")
        await first.run("And where is the hay now?")
        assert engine.requests[1].messages[-1].text == "And where is the hay now?"
        await Session(agent).run("Where is the hay?")  # another conversation has none of it
    recalled = engine.requests[2].messages[-1].text or ""
    assert "The hay is in the north barn." in recalled
    assert recalled.endswith("Where is the hay?")
