"""A team that was killed goes on where it stopped; tried at everything that one recorded run of a team wrote."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Request

from corral.agents import Agent, CodeAct, DefinitionError, Journal, ReAct, Result, StopReason
from corral.agents.agent import Start
from corral.agents.steps import Codec, Effect, InlineSteps
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Approval, ApprovalRequest, Event, Limits, Policy, RunStarted, SecurityPolicy
from corral.sandbox import MontyProvider
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


class World:
    """What was asked and done, outside of the journal: it survives the process as the world does."""

    def __init__(self) -> None:
        self.did: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def script(self, name: str, *turns: Reply | str) -> Any:
        def script(request: Request, number: int) -> Reply | str:
            turn = sum(message.role == "assistant" for message in request.messages)
            self.asked[f"{name}/{turn}"] += 1
            return turns[min(turn, len(turns) - 1)]

        return scripted_lm(script)[0]

    def team(self, kind: str, **options: Any) -> Agent:
        """A boss, two that work for it, and one that works for one of them; three calls of the team count."""

        @tool(effect="once")
        def send(to: str) -> str:
            """Send."""
            self.did[to] += 1
            return f"sent to {to}"

        @tool(effect="read")
        def look(what: str) -> str:
            """Look."""
            return f"saw {what}"

        def sends(name: str, tools: list[Any], *calls: Call) -> ReAct:
            lm = self.script(name, *(Reply(calls=[call]) for call in calls), f"{name} is done.")
            return ReAct("question -> answer", tools, lm=lm, name=name)

        low = sends("low", [send], Call("send", {"to": "cec"}, "l1"))
        one = sends("one", [send, look], Call("look", {"what": "x"}, "o1"), Call("send", {"to": "ann"}, "o2"))
        two = sends("two", [send, low], Call("send", {"to": "bob"}, "t1"), Call("low", {"question": "more"}, "t2"))
        options = {"policy": EVERYTHING, "name": "boss", **options}
        if kind == "code":
            code = "print(one(question='a'))\nprint(two(question='b'))"
            turns = (Reply(calls=[Call("python", {"code": code}, "b1")]), "All done.")
            lm = self.script("boss", *turns)
            return CodeAct("question -> answer", [one, two], lm=lm, sandbox=MontyProvider(), **options)
        both = [Call("one", {"question": "a"}, "b1"), Call("two", {"question": "b"}, "b2")]
        lm = self.script("boss", Reply(calls=both), "All done.")
        return ReAct("question -> answer", [one, two], lm=lm, **options)


class Watched(Journal):
    """A journal that copies itself after each thing that is written, with what the world was like then."""

    def __init__(self, path: Path, world: World, folder: Path, only: int | None = None) -> None:
        super().__init__(path)
        self.only = only
        self.written = 0
        self.cuts: list[tuple[Path, Counter[str], Counter[str]]] = []
        self._world = world
        self._folder = folder

    def emit(self, event: Event) -> None:
        super().emit(event)
        self._cut()

    def begin(self, opening: Any) -> None:
        super().begin(opening)
        self._cut()

    def keep(self, run_id: str, name: str, data: Any | None) -> None:
        super().keep(run_id, name, data)
        self._cut()

    def _cut(self) -> None:
        self.written += 1
        if self.only not in (None, self.written):
            return
        self.flush()
        path = self._folder / f"cut-{len(self.cuts)}.sqlite3"
        with sqlite3.connect(self.path) as source, sqlite3.connect(path) as copy:
            source.backup(copy)
            copy.execute("UPDATE runs SET owner = NULL")
        source.close()
        copy.close()
        self.cuts.append((path, self._world.did.copy(), self._world.asked.copy()))


@pytest.mark.parametrize("kind", ["react", "code"])
async def test_a_team_killed_at_any_point_goes_on_without_repeating_a_recorded_call(kind: str, tmp_path: Path) -> None:
    world = World()
    with Watched(tmp_path / "whole.sqlite3", world, tmp_path) as journal:
        result = await world.team(kind, journal=journal).run("go")
        names = [row["agent"] for row in journal.runs()]
    assert result.ok
    assert sorted(names) == ["boss", "low", "one", "two"]
    assert world.did == Counter(ann=1, bob=1, cec=1)
    model_calls, cut_off = world.asked, 0
    started = next(number for number, (path, _, _) in enumerate(journal.cuts) if _events(path))
    for path, did, asked in journal.cuts[started:]:
        later = World()
        later.did, later.asked = did, asked
        with Journal(path) as copy:
            again = await later.team(kind, journal=copy).resume(result.run_id)
            told = str([copy.messages(row["run_id"]) for row in copy.runs()])
        assert again.ok, (path.name, again.detail)
        assert again.outputs == result.outputs
        assert later.asked == model_calls, path.name
        assert max(later.did.values()) == 1, path.name
        lost = 3 - sum(later.did.values())
        assert lost <= len(again.unknown), path.name
        if again.unknown:  # begun, and nobody can know
            cut_off += 1
            assert "not known" in told, path.name
        else:
            assert (again.spent, again.usage, again.label) == (result.spent, result.usage, result.label), path.name
        path.unlink()
    assert cut_off >= 3
    assert len(journal.cuts) > 60


def _events(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (number,) = connection.execute("SELECT COUNT(*) FROM events").fetchone()
    connection.close()
    return int(number)


async def test_a_finished_child_is_not_run_again_and_is_paid_for_again(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await world.team("react", journal=journal).run("go")
        runs = len(journal.runs())
        again = await world.team("react", journal=journal).resume(result.run_id)
        assert len(journal.runs()) == runs
    assert world.did == Counter(ann=1, bob=1, cec=1)
    assert (again.spent, again.usage) == (result.spent, result.usage)


async def test_a_child_goes_on_with_its_parent_and_not_alone(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.sqlite3") as journal:
        team = World().team("react", journal=journal)
        result = await team.run("go")
        child = next(row["run_id"] for row in journal.runs() if row["agent"] == "one")
        with pytest.raises(DefinitionError, match=f"works for the run {result.run_id}; resume that one"):
            await team.resume(child)


async def test_a_rewound_team_has_forgotten_what_was_delegated_after(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await world.team("react", journal=journal).run("go")
        journal.rewind(result.run_id, 0)
        assert [row["agent"] for row in journal.runs()] == ["boss"]
        again = await world.team("react", journal=journal).resume(result.run_id)
    assert again.ok
    assert world.did == Counter(ann=2, bob=2, cec=2)


async def test_what_was_delegated_goes_with_its_run_when_the_journal_is_pruned(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        for _ in range(2):
            kept: Result = await world.team("react", journal=journal).run("go")
        assert journal.prune(0, keep=1) == 4
        assert {row["parent_run_id"] for row in journal.runs() if row["agent"] == "one"} == {kept.run_id}
        assert len(journal.runs()) == 4


class Kept(InlineSteps):
    """Steps that somebody else makes durable, such as a workflow engine: here, a dict."""

    def __init__(self, run_id: str, stored: dict[str, Any]) -> None:
        super().__init__(run_id)
        self.stored = stored

    async def call(self, name: str, fn: Any, *, codec: Codec[Any], effect: Effect) -> Any:
        if name not in self.stored:
            self.stored[name] = json.loads(json.dumps(codec.dump(await fn())))
        return codec.load(self.stored[name])

    def recorded(self, name: str) -> Any | None:
        return self.stored.get(name)

    async def record(self, name: str, data: Any) -> None:
        self.stored[name] = data


async def test_steps_that_somebody_else_keeps_hold_those_of_children_too() -> None:
    world, stored = World(), dict[str, Any]()
    result = await world.team("react").start("go", {}, Start(run_id="r", steps=Kept("r", stored)))
    asked = world.asked.copy()
    kept = dict(stored)
    for name in stored:
        if name.startswith("tool/"):  # as if it had died before the boss heard of its children
            del kept[name]
    again = await world.team("react").start("go", {}, Start(run_id="r", steps=Kept("r", kept)))
    assert world.did == Counter(ann=1, bob=1, cec=1)
    assert world.asked == asked
    assert (again.outputs, again.spent) == (result.outputs, result.spent)


async def test_a_child_that_alone_has_a_journal_is_kept_and_goes_on_alone(tmp_path: Path) -> None:
    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        lm = world.script("one", "Done.")
        one = ReAct("question -> answer", lm=lm, name="one", journal=journal)
        asks = Reply(calls=[Call("one", {"question": "a"}, "1")])
        await ReAct("question -> answer", [one], lm=world.script("boss", asks, "Done.")).run("go")
        (row,) = journal.runs()
        assert (await one.resume(row["run_id"])).ok
        assert journal.prune(1000) == 0
        assert journal.prune(0) == 1


async def test_a_person_is_not_asked_again_about_what_a_child_was_allowed(tmp_path: Path) -> None:
    asked: list[str] = []

    class Person:
        async def decide(self, request: ApprovalRequest) -> Approval:
            asked.append(f"{request.action.who} {request.action.resource}")
            return Approval(request.digest, True, "user:test")

    world = World()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        options: dict[str, Any] = {"journal": journal, "policy": None, "approver": Person()}
        first = await world.team("react", limits=Limits(steps=1000, seconds=100), **options).run("go")
        with sqlite3.connect(journal.path) as connection:  # as if it had been killed before the boss heard of it
            connection.execute("DELETE FROM steps WHERE run_id = ? AND name LIKE 'tool/%'", (first.run_id,))
        connection.close()
        before = list(asked)
        again = await world.team("react", **options).resume(first.run_id)
    assert again.ok
    assert again.reason is StopReason.DONE
    assert sorted(before) == sorted(asked)
    assert len(asked) == 3
    assert world.did == Counter(ann=1, bob=1, cec=1)


async def test_events_of_a_resumed_child_stand_once_in_the_journal(tmp_path: Path) -> None:
    world = World()
    with Watched(tmp_path / "whole.sqlite3", world, tmp_path, only=40) as journal:
        result = await world.team("react", journal=journal).run("go")
        whole = _counts(journal)
    assert journal.written > 60
    ((path, _, _),) = journal.cuts
    with Journal(path) as copy:
        assert (await World().team("react", journal=copy).resume(result.run_id)).ok
        assert _counts(copy) == whole


def _counts(journal: Journal) -> dict[str, Counter[str]]:
    lives = {RunStarted.__name__, "RunFinished"}
    return {
        row["agent"]: Counter(e["type"] for e in journal.events(row["run_id"]) if e["type"] not in lives)
        for row in journal.runs()
        if row["agent"] != "boss"
    }
