"""What a turn of a session adds to what was read is kept, and comes back whole."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from corral.agents import Journal, ReAct, Session
from corral.agents.additions import added, joined
from corral.agents.testing import Call, Reply, scripted_lm
from corral.tools import tool


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"a": [1]}),
        ({"a": ["x"], "b": {}}, {"a": ["x", "y"], "b": {"c": ["z"]}}),
        ({"a": ["x", "y"]}, {"a": ["y"]}),
        ({"a": ["USER", [], None]}, {"a": ["UNTRUSTED", ["tool:x"], None]}),
        ({"a": None}, {"a": ["x"]}),
        ({"a": ["x"]}, {"a": None}),
        ({"a": {"b": 1}}, {"a": {}}),
    ],
)
def test_what_was_added_makes_the_later_of_the_earlier(before: Any, now: Any) -> None:
    assert joined(before, added(before, now)) == now


def test_nothing_new_is_nothing() -> None:
    assert added({"a": ["x"]}, {"a": ["x"]}) is None
    assert joined({"a": ["x"]}, None) == {"a": ["x"]}


def test_a_sorted_set_that_grew_is_told_by_what_is_new() -> None:
    change = added({"a": ["b", "d"]}, {"a": ["a", "b", "c", "d"]})
    assert change == {"in": {"a": {"then": ["a", "c"]}}}
    assert set(joined({"a": ["b", "d"]}, change)["a"]) == {"a", "b", "c", "d"}


def test_a_long_random_history_comes_back() -> None:
    source = random.Random(3)
    state: dict[str, Any] = {"texts": [], "known": {}, "seen": ["USER", [], None]}
    kept = state
    for number in range(200):
        now: dict[str, Any] = {**state, "texts": [*state["texts"], f"text {number}"], "known": dict(state["known"])}
        now["known"][f"value {source.randrange(50)}"] = [source.choice(["USER", "UNTRUSTED"]), number]
        kept = joined(kept, added(state, now))
        state = now
    assert kept == state


@tool(effect="read")
def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


def script(request: Any, number: int) -> Reply:
    return Reply(calls=[Call("look", {"what": f"thing {number}"})]) if number % 2 == 0 else Reply(f"answer {number}")


async def test_a_session_keeps_of_each_turn_what_it_added_and_loads_all_of_it(tmp_path: Path) -> None:
    lm, _ = scripted_lm(script)
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", [look], lm=lm, journal=journal)
        session = Session(agent)
        sizes: list[int] = []
        for number in range(30):
            result = await session.run(f"question {number}, and a few words more")
            journal.flush()
            with sqlite3.connect(journal.path) as connection:
                row = connection.execute(
                    "SELECT LENGTH(data), LENGTH(opening) FROM steps JOIN runs USING (run_id) "
                    "WHERE name = 'traces' AND run_id = ?", (result.run_id,),
                ).fetchone()  # fmt: skip
            connection.close()
            sizes.append(sum(row))
        before = session._traces.to_json()  # pyright: ignore[reportPrivateUsage]
        loaded = Session.load(agent, session.id)
        assert loaded._traces.to_json() == before  # pyright: ignore[reportPrivateUsage]
        assert len(before["trusted"]) == 30
        # As many bytes for the last turn as for an early one: a session of n turns takes n times as much, and not n².
        assert sizes[-1] < 1.5 * sizes[3]


async def test_where_a_turn_was_not_kept_nobody_knows_what_was_read(tmp_path: Path) -> None:
    lm, _ = scripted_lm(script)
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", [look], lm=lm, journal=journal)
        session = Session(agent)
        runs = [(await session.run(f"question {number}")).run_id for number in range(3)]
        journal.flush()
        with sqlite3.connect(journal.path) as connection:
            connection.execute("DELETE FROM steps WHERE name = 'traces' AND run_id = ?", (runs[1],))
        connection.close()
        assert journal.traces(runs[0]).trusted.texts == ["question 0"]
        lost = journal.traces(runs[2])
        assert lost.trusted.texts == []
        assert lost.seen.integrity.name == "UNTRUSTED"
