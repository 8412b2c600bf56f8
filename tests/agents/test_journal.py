import io
import json
import sqlite3
from pathlib import Path

import pytest

from corral.agents import DefinitionError, Journal, JournalError, ReAct, Session, StopReason
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Limits, TextDelta
from corral.tools import tool


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_run_is_read_back_with_its_conversation_unchanged(tmp_path: Path) -> None:
    lm, _ = scripted_lm([Reply("thinking", calls=[Call("add", {"a": 1, "b": 2})]), "3, naturally"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await ReAct("question -> answer", [add], lm=lm, sinks=[journal]).run("1 + 2?")
        assert tuple(journal.messages(result.run_id)) == result.messages
        (row,) = journal.runs()
        assert row["run_id"] == result.run_id
        assert row["reason"] == "done"
        types = [event["type"] for event in journal.events(result.run_id)]
    assert types[0] == "RunStarted"
    assert types[-1] == "RunFinished"


async def test_what_was_recorded_outlives_the_journal_object(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["hi"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await ReAct("question -> answer", lm=lm, sinks=[journal]).run("?")
    with Journal(tmp_path / "runs.sqlite3") as again:
        assert tuple(again.messages(result.run_id)) == result.messages


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET version = 99")
    connection.close()
    with pytest.raises(JournalError, match="schema version 99"):
        Journal(path)


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database " * 40)
    with pytest.raises(JournalError, match=r"notes\.txt"):
        Journal(path)
    assert path.read_text().startswith("these are my notes")


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(JournalError, match="no journal of runs"):
        Journal(path)


async def test_a_run_whose_journal_breaks_ends_with_that_reason(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.sqlite3")

    def script(request: object, number: int) -> Reply:
        if number == 2:
            with sqlite3.connect(journal.path, timeout=10) as connection:
                connection.execute("DROP TABLE events")
            connection.close()
        return Reply(calls=[Call("add", {"a": 1, "b": number})])

    lm, _ = scripted_lm(script)
    result = await ReAct("question -> answer", [add], lm=lm, sinks=[journal]).run("?")
    journal.close()
    assert result.reason is StopReason.ERROR
    assert "can't be written" in result.detail


def test_a_closed_journal_takes_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.sqlite3")
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.emit(TextDelta(step=1, text="x"))


def test_a_journal_of_the_first_version_is_brought_up_to_date_and_keeps_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE meta (version INTEGER NOT NULL);
            INSERT INTO meta VALUES (1);
            CREATE TABLE runs (run_id TEXT PRIMARY KEY, agent TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL,
                parent_run_id TEXT, started REAL NOT NULL, finished REAL, reason TEXT);
            INSERT INTO runs VALUES ('old', 'main', 'ReAct', 'm', NULL, 1.0, 2.0, 'done');
            CREATE TABLE events (run_id TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, type TEXT NOT NULL,
                data TEXT NOT NULL, PRIMARY KEY (run_id, seq)) WITHOUT ROWID;
            INSERT INTO events VALUES ('old', 1, 1.0, 'RunFinished', '{"type": "RunFinished"}');
            """
        )
    connection.close()
    with Journal(path) as journal:
        assert [row["run_id"] for row in journal.runs()] == ["old"]
        assert list(journal.events("old")) == [{"type": "RunFinished"}]
        with pytest.raises(JournalError, match="events only"):
            journal.record("old")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version FROM meta").fetchone() == (2,)
    connection.close()


async def test_a_run_that_is_refused_before_it_begins_leaves_no_row(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["x"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        with pytest.raises(DefinitionError, match="price"):
            await ReAct("question -> answer", lm=lm, journal=journal, limits=Limits(cost_usd=1)).run("?")
        assert journal.runs() == []


async def test_a_journal_that_is_given_twice_writes_once(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["hi"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        result = await ReAct("question -> answer", lm=lm, journal=journal, sinks=[journal]).run("?")
        assert result.ok
        assert [event["seq"] for event in journal.events(result.run_id)] == [1, 2, 3, 4, 5, 6]


async def test_runs_are_exported_as_json_lines(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["hi"])
    out = io.StringIO()
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        first = await agent.run("1?")
        await agent.run("2?")
        assert journal.export(out, [first.run_id]) == 1
        assert journal.export(io.StringIO()) == 2
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (lines[0]["type"], lines[0]["run_id"], lines[0]["version"]) == ("Run", first.run_id, 2)
    assert [line["type"] for line in lines[1:]][:1] == ["RunStarted"]
    assert lines[-1]["type"] == "RunFinished"
    assert {line["run_id"] for line in lines} == {first.run_id}


async def test_old_runs_are_deleted_but_not_those_that_kept_ones_go_on_from(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["hi"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        alone = await agent.run("alone?")
        session = Session(agent)
        first = await session.run("first?")
        await session.run("second?")
        assert journal.prune(3600) == 0
        assert journal.prune(0, keep=1) == 1
        kept = {row["run_id"] for row in journal.runs()}
        assert list(journal.events(alone.run_id)) == []
        assert journal.steps(alone.run_id) == {}
        assert first.run_id in kept
        assert len(kept) == 2
        assert journal.prune(0) == 2


async def test_a_turn_of_a_session_is_stored_once_and_read_with_those_before(tmp_path: Path) -> None:
    lm, _ = scripted_lm(["hi"])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        session = Session(ReAct("question -> answer", lm=lm, journal=journal))
        results = [await session.run(f"{number}?") for number in range(5)]
        added = [sum(e["type"] == "MessageAdded" for e in journal.events(r.run_id)) for r in results]
        assert added == [2] * 5
        assert journal.messages(results[-1].run_id) == session.messages
        assert len(session.messages) == 10


async def test_a_full_disk_under_the_journal_ends_the_run_with_that_reason(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.sqlite3")

    def full(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    journal._writer.put(full)  # pyright: ignore[reportPrivateUsage] - a disk can't be filled from outside
    lm, _ = scripted_lm([Reply("x" * 100_000, calls=[Call("add", {"a": 1, "b": 2})])])
    agent = ReAct("question -> answer", [add], lm=lm, journal=journal, limits=Limits(steps=200))
    result = await agent.run("?")
    journal.close()
    assert result.reason is StopReason.ERROR
    assert "full" in result.detail
