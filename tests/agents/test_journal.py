import sqlite3
from pathlib import Path

import pytest

from corral.agents import Journal, JournalError, ReAct, StopReason
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import TextDelta
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
