"""A run that was killed goes on where it stopped; tried at every point of one run, and with a real SIGKILL."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Request

from corral.agents import (
    Agent,
    CodeAct,
    DefinitionError,
    Journal,
    JournalError,
    ReAct,
    Session,
    StopReason,
)
from corral.agents.owner import running_process, this_process
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Approval, ApprovalRequest, Limits, Policy, SecurityPolicy
from corral.sandbox import MontyProvider
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


class World:
    """What the tools of a run did, outside of it: it survives the run as the world does."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.asked: list[str] = []

    def tools(self) -> list[Any]:
        @tool(effect="once")
        def send(to: str) -> str:
            """Send."""
            self.done.append(to)
            return f"sent to {to}"

        @tool(effect="read")
        def look(what: str) -> str:
            """Look."""
            self.done.append(f"look {what}")
            return f"saw {what}"

        return [send, look]


def by_turn(turns: list[Reply]) -> Any:
    """A model whose answer depends only on how far the conversation is, as a deterministic one's would; what was not
    done because of a limit it proposes again."""

    def script(request: Request, number: int) -> Reply:
        said = sum(message.role == "assistant" for message in request.messages)
        return turns[said - sum("was raised" in str(message.parts) for message in request.messages)]

    return script


REACT = [
    Reply("First.", calls=[Call("look", {"what": "a"}, "1"), Call("look", {"what": "b"}, "2")]),
    Reply("Now.", calls=[Call("send", {"to": "ann"}, "3"), Call("nothing", {}, "4")]),
    Reply(calls=[Call("send", {"to": "bob"}, "5")]),
    Reply("All sent."),
]
CODE = [
    Reply(calls=[Call("python", {"code": "x = look(what='a')\nprint(x)"}, "1")]),
    Reply(calls=[Call("python", {"code": "for name in ['ann', 'bob']:\n    print(send(to=name))\nx"}, "2")]),
    Reply(calls=[Call("python", {"code": "print(x, look('b'))"}, "3")]),
    Reply("All sent."),
]


def make(kind: str, world: World, journal: Journal | None, turns: list[Reply] | None = None, **more: Any) -> Agent:
    options: dict[str, Any] = {"policy": EVERYTHING, "journal": journal, **more}
    if kind == "code":
        lm, _ = scripted_lm(by_turn(turns or CODE))
        return CodeAct("question -> answer", world.tools(), lm=lm, sandbox=MontyProvider(), **options)
    lm, _ = scripted_lm(by_turn(turns or REACT))
    return ReAct("question -> answer", world.tools(), lm=lm, **options)


def killed_after(whole: Path, folder: Path, run_id: str) -> Iterator[tuple[Path, set[str], set[str]]]:
    """The journal as it was after each thing that was written of the run; with it, the steps done and those begun."""
    with sqlite3.connect(whole) as connection:
        last = connection.execute("SELECT MAX(seq) FROM events").fetchone()[0]
        steps = connection.execute("SELECT name, begun, done FROM steps ORDER BY done, name").fetchall()
    connection.close()
    for seq in range(last):
        here = [name for name, _, done in steps if done == seq]
        for count in range(len(here) + 1):
            path = folder / f"cut-{seq}-{count}.sqlite3"
            shutil.copy(whole, path)
            done = {name for name, _, at in steps if at is not None and at < seq} | set(here[:count])
            begun = {name for name, at, _ in steps if at <= seq and name not in done and _is_once(name)}
            with sqlite3.connect(path) as cut:
                cut.execute("DELETE FROM events WHERE seq > ?", (seq,))
                for name, _, _ in steps:
                    if name in begun:
                        cut.execute("UPDATE steps SET done = NULL, data = NULL WHERE name = ?", (name,))
                    elif name not in done:
                        cut.execute("DELETE FROM steps WHERE name = ?", (name,))
                cut.execute("UPDATE runs SET finished = NULL, reason = NULL, owner = NULL")
            cut.close()
            yield path, done, begun


SENDS: set[str] = set()


def _is_once(name: str) -> bool:
    return name in SENDS


@pytest.mark.parametrize("kind", ["react", "code"])
async def test_a_run_killed_at_any_point_goes_on_without_repeating_a_recorded_call(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole.sqlite3"
    first = World()
    with Journal(whole) as journal:
        result = await make(kind, first, journal).run("go")
        messages = journal.messages(result.run_id)
        stored = journal.steps(result.run_id)
    assert result.ok
    SENDS.clear()
    SENDS.update(name for name, step in stored.items() if "sent to" in json.dumps(step.data) and "/" in name[5:])
    SENDS.difference_update(name for name in stored if name.startswith("model/"))
    cuts = 0
    for path, done, begun in killed_after(whole, tmp_path, result.run_id):
        cuts += 1
        world = World()
        with Journal(path) as journal:
            again = await make(kind, world, journal).resume(result.run_id)
            kept = journal.messages(result.run_id)
        recorded = [name for name in done | begun if name in SENDS]
        sent = [what for what in world.done if not what.startswith("look")]
        assert again.reason is StopReason.DONE, (path.name, again.detail)
        assert len(sent) <= 2 - len(recorded), (path.name, sent)
        if begun:
            assert set(again.unknown) == begun
            assert "not known" in str(again.messages)
        else:
            assert again.unknown == ()
            assert len(sent) == 2 - len(recorded), (path.name, sent)
            assert kept == messages == list(again.messages), path.name
            assert again.outputs == result.outputs
            assert again.usage == result.usage
            assert again.tool_calls == result.tool_calls
        path.unlink()
    assert cuts > 20


async def test_what_was_recorded_is_neither_asked_nor_called_nor_approved_again(tmp_path: Path) -> None:
    world = World()

    class Person:
        async def decide(self, request: ApprovalRequest) -> Approval:
            world.asked.append(str(request.action.arguments))
            return Approval(request.digest, True, "user:test")

    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("react", world, journal, policy=None, approver=Person(), limits=Limits(steps=3))
        stopped = await agent.run("go")
        assert stopped.reason is StopReason.STEPS
        before = (list(world.done), list(world.asked))
        more = make("react", world, journal, policy=None, approver=Person(), limits=Limits(steps=9))
        result = await more.resume(stopped.run_id)
    assert result.ok
    assert world.done[: len(before[0])] == before[0]
    assert sorted(world.done) == ["ann", "bob", "look a", "look b"]
    assert len(world.asked) == 2


async def test_a_denial_stays_a_denial_when_the_run_is_resumed(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        stopped = await make("react", world, journal, policy=None, limits=Limits(steps=3)).run("go")
        again = await make("react", world, journal, policy=EVERYTHING, limits=Limits(steps=9)).resume(stopped.run_id)
    assert again.ok
    assert world.done == ["look a", "look b", "bob"]
    assert "denied" in str(again.messages[4].parts[0])


@pytest.mark.parametrize("limit", ["steps", "tool_calls", "tokens"])
async def test_a_run_that_a_limit_ended_goes_on_after_its_last_answer_once_the_limit_is_higher(
    tmp_path: Path, limit: str
) -> None:
    def script(request: Request, number: int) -> Reply:
        if "give the final answer" in str(request.messages[-1]):
            return Reply("What I have so far.")
        said = sum(message.role == "assistant" for message in request.messages)
        done = "was raised" in str(request.messages)
        return Reply("The whole answer.") if done else Reply(calls=[Call("look", {"what": str(said)}, str(said))])

    low = {"steps": 3, "tool_calls": 2, "tokens": 700}[limit]

    def made(most: int, **more: Any) -> Agent:
        lm, _ = scripted_lm(script)
        limits = Limits(**{limit: most, "steps": 40 if limit != "steps" else most})
        return ReAct("question -> answer", World().tools(), lm=lm, journal=journal, limits=limits, **more)

    with Journal(tmp_path / "runs.sqlite3") as journal:
        first = await made(low).run("go")
        same = await made(low).resume(first.run_id)
        before = journal.messages(first.run_id)
        more = await made(30 * low).resume(first.run_id)
        kept = journal.messages(first.run_id)
        fork = await made(30 * low).resume(journal.fork(first.run_id, more.steps - 1))
        less = await made(low).resume(first.run_id)
    assert [one.reason.value for one in (first, same, less)] == [limit, limit, "done"]
    assert first.outputs == same.outputs == {"answer": "What I have so far."}
    assert list(same.messages) == before
    assert (more.reason, more.outputs) == (StopReason.DONE, {"answer": "The whole answer."})
    assert list(more.messages) == kept == list(fork.messages)
    assert kept[: len(before)] == before
    assert f"The limit on {limit} was raised" in str(kept[len(before)])


@pytest.mark.parametrize("kind", ["react", "code"])
async def test_what_was_denied_is_told_in_order_and_again_when_resumed(kind: str, tmp_path: Path) -> None:
    send = SecurityPolicy(resource="tool:local/send", actions=["call"], effect="deny", reason="no mail today")
    policy = Policy(rules=[*EVERYTHING.rules, send])
    caught = (
        "for name in ['ann', 'bob']:\n    try:\n        send(to=name)\n    except Exception as e:\n        print(e)"
    )
    turns = {
        "react": [Reply(calls=[Call("send", {"to": "ann"}, "1"), Call("send", {"to": "bob"}, "2")])],
        "code": [Reply(calls=[Call("python", {"code": caught}, "1")])],
    }
    more = [*turns[kind], Reply(calls=[Call("look" if kind == "react" else "python", {}, "3")]), Reply("None sent.")]
    with Journal(tmp_path / "runs.sqlite3") as journal:
        stopped = await make(kind, World(), journal, more, policy=policy, limits=Limits(steps=2)).run("go")
        again = await make(kind, World(), journal, more, policy=policy, limits=Limits(steps=9)).resume(stopped.run_id)
    assert (stopped.reason, again.reason) == (StopReason.STEPS, StopReason.DONE)
    assert again.denied == stopped.denied
    assert [(refusal.resource, "no mail today" in refusal.reason) for refusal in again.denied] == [
        ("tool:local/send", True),
        ("tool:local/send", True),
    ]


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ("UPDATE steps SET data = replace(data, 'saw a', 'saw z') WHERE name = 'cell/1'", "printed or returned"),
        ("UPDATE steps SET name = name || '9' WHERE name LIKE 'cell/1/%'", "called look as it had not done before"),
    ],
)
async def test_a_cell_that_goes_another_way_ends_the_run_with_a_sentence(tmp_path: Path, change: str, how: str) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("code", world, journal)
        first = await agent.run("go")
        fork = journal.fork(first.run_id, 1)
        with sqlite3.connect(journal.path) as connection:
            connection.execute(change)
        connection.close()
        world.done.clear()
        again = await agent.resume(fork)
    assert again.reason is StopReason.ERROR
    assert "cell/1 went another way" in again.detail
    assert how in again.detail
    assert world.done == []


async def test_a_fork_goes_on_from_its_step_and_leaves_the_run_alone(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("react", world, journal)
        result = await agent.run("go")
        fork = journal.fork(result.run_id, 1)
        other = [*REACT[:1], Reply("Nothing to send.")]
        forked = await make("react", world, journal, other).resume(fork)
        assert journal.messages(result.run_id) == list(result.messages)
        assert [row["parent_run_id"] for row in journal.runs()][:1] == [result.run_id]
    assert forked.outputs == {"answer": "Nothing to send."}
    assert world.done == ["look a", "look b", "ann", "bob"]


async def test_a_run_that_was_killed_before_its_first_step_can_be_forked_and_rewound_too(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("react", World(), journal)
        result = await agent.run("go")
        with sqlite3.connect(journal.path) as connection:
            connection.execute("DELETE FROM events WHERE seq > 2")
            connection.execute("DELETE FROM steps")
            connection.execute("UPDATE runs SET finished = NULL, reason = NULL, owner = NULL")
        connection.close()
        fork = journal.fork(result.run_id, 0)
        journal.rewind(result.run_id, 0)
        for run_id in (fork, result.run_id):
            again = await agent.resume(run_id)
            assert journal.messages(run_id) == list(again.messages) == list(result.messages)


async def test_a_rewound_run_has_forgotten_its_later_steps(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("react", world, journal)
        result = await agent.run("go")
        journal.rewind(result.run_id, 2)
        again = await agent.resume(result.run_id)
        with pytest.raises(JournalError, match="no step 9"):
            journal.rewind(result.run_id, 9)
    assert again.outputs == result.outputs
    assert world.done == ["look a", "look b", "ann", "bob", "bob"]


async def test_a_run_that_still_goes_on_is_not_resumed(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = make("react", World(), journal)
        result = await agent.run("go")
        with sqlite3.connect(journal.path) as connection:
            connection.execute("UPDATE runs SET finished = NULL")
        connection.close()
        with pytest.raises(JournalError, match=r"in process .*, which is this one; .* another process"):
            await agent.resume(result.run_id)
        with pytest.raises(JournalError, match="no run nonsense"):
            await agent.resume("nonsense")
    with pytest.raises(DefinitionError, match="journal="):
        await make("react", World(), None).resume("x")


@pytest.mark.parametrize(
    ("owner", "alive"),
    [
        ("{host}:{pid}:{started}", True),
        ("{host}:{pid}", True),
        ("{host}:{pid}:1", False),
        ("elsewhere:{pid}:{started}", False),
        ("{host}:4194304:1", False),
        ("{host}:nonsense", False),
        ("", False),
    ],
    ids=["this one", "of an earlier version", "same id, later started", "other host", "gone", "no number", "nobody"],
)
def test_a_run_belongs_to_the_very_process_that_ran_it(owner: str, alive: bool) -> None:
    host, pid, started = this_process().split(":")
    found = running_process(owner.format(host=host, pid=pid, started=started))
    assert found == (int(pid) if alive else None)


CHILD = """
import os, signal, sys, time
from pathlib import Path
from corral.agents import Journal, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Policy, SecurityPolicy
from corral.tools import tool

folder = Path(sys.argv[1])
die = float(sys.argv[2])

@tool(effect="once")
def act(number: int) -> str:
    "Act, and leave a line in the world."
    with open(folder / "world", "a") as file:
        file.write(f"{number}\\n")
    return f"did {number}"

def script(request, _):
    turn = sum(message.role == "assistant" for message in request.messages)
    return Reply(calls=[Call("act", {"number": turn}, str(turn))]) if turn < 400 else Reply("done")

lm, _ = scripted_lm(script)
policy = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
if die:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
with Journal(folder / "runs.sqlite3") as journal:
    from corral.policy import Limits
    agent = ReAct("question -> answer", [act], lm=lm, policy=policy, journal=journal, limits=Limits(steps=500))
    if die:
        signal.setitimer(signal.ITIMER_REAL, die)
    rows = journal.runs()
    import asyncio
    result = asyncio.run(agent.resume(rows[0]["run_id"]) if rows else agent.run("go"))
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(result.reason.value, len(result.unknown))
"""


def test_a_process_that_is_killed_again_and_again_never_repeats_a_call_that_counts(tmp_path: Path) -> None:
    def start(die: float) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(die)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    killed = 0
    for die in (0.1, 0.3, 0.2, 0.4):
        ended = start(die)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        killed += 1
    else:
        ended = start(0)
    assert killed
    reason, unknown = ended.stdout.split()
    assert reason == "done"
    done = (tmp_path / "world").read_text().split()
    assert len(done) == len(set(done))
    assert 400 - int(unknown) <= len(done) <= 400


async def test_a_session_of_300_turns_is_back_within_50_ms(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.sqlite3") as journal:
        lm, engine = scripted_lm(lambda request, number: Reply(f"answer {number} " + "word " * 50))
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        session = Session(agent)
        for number in range(300):
            await session.run(f"question {number} " + "word " * 20)
        asked: list[tuple[float, float]] = []

        def note(request: Request, number: int) -> Reply:
            asked.append((time.perf_counter(), time.process_time()))
            return Reply("again")

        lm, engine = scripted_lm(note)
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        wall: list[float] = []
        cpu: list[float] = []
        gc.freeze()  # as the commands do: a full collection is not to go through all that was ever imported
        try:
            for _ in range(20):
                started, worked = time.perf_counter(), time.process_time()
                loaded = Session.load(agent, session.id)
                await loaded.run("and now?")
                wall.append(asked[-1][0] - started)
                cpu.append(asked[-1][1] - worked)
        finally:
            gc.unfreeze()
    assert list(engine.requests[0].messages[:600]) == session.messages
    assert max(cpu) < 0.05, cpu
    assert min(wall) < 0.05, wall  # the machine may have other work to do, but not each time
