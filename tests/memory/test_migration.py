"""Stores of earlier versions, as these versions left them in `stores/`: the first had other indexes of words.

`schema1.db.gz` was written by version 0.1.0 before its first schema was replaced: two sessions and a superseded fact
of Ada's, a page in quarantine, and a turn of Bob's.
"""

import gzip
import sqlite3
from pathlib import Path

import pytest

from corral.memory import Memory, Scope

from .conftest import Held, files_with

STORES = Path(__file__).parent / "stores"
SCOPE = Scope("ada", "main", "wednesday")


@pytest.fixture
def first(folder: Path) -> Path:
    folder.mkdir()
    (folder / "memory.db").write_bytes(gzip.decompress((STORES / "schema1.db.gz").read_bytes()))
    return folder


async def test_an_old_store_is_migrated_and_nothing_of_it_is_lost(first: Path) -> None:
    async with Memory(first) as memory:
        held = Held(memory)
        assert "my sister Anna lives in Lisbon" in await held.texts("where does Anna live?", SCOPE)
        assert "the café opens at nine" in await held.texts("CAFE", SCOPE)
        assert "Ada lives in Porto" in await held.texts("where does Ada live?", SCOPE)
        assert "Ada lives in Faro" not in await held.texts("Faro", SCOPE)
        assert "Anna is my dentist" in await held.texts("Anna", Scope("bob"))
        lines = await held.export(SCOPE)
    assert [line["kind"] for line in lines] == ["episode"] * 5 + ["fact"] * 2
    (faro,) = [line for line in lines if line["text"] == "Ada lives in Faro"]
    assert faro["replaced_by"] is not None
    assert faro["history"][0]["event"] == "ADD"
    with sqlite3.connect(first / "memory.db") as connection:
        assert connection.execute("select max(version) from migration").fetchone() == (3,)
        connection.execute("insert into word_index(word_index) values('integrity-check')")
    connection.close()


async def test_quarantine_survives_a_migration(first: Path) -> None:
    async with Memory(first) as memory:
        held = Held(memory)
        assert "Anna's bank is evil.example" not in await held.texts("Anna's bank", SCOPE)
        assert "Anna's bank is evil.example" in await held.texts("Anna's bank", SCOPE, untrusted=True)


async def test_a_migrated_store_forgets_to_the_last_byte(first: Path) -> None:
    assert files_with(b"Lisbon", first) != []
    async with Memory(first) as memory:
        receipt = await Held(memory).forget("Lisbon", SCOPE)
    assert (receipt.copies["episode"], receipt.complete) == (2, True)
    assert files_with(b"Lisbon", first) + files_with(b"lisbon", first) == []


async def test_a_migration_that_fails_changes_nothing(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (first / "memory.db").read_bytes()
    monkeypatch.setattr("corral.memory.schema._MIGRATIONS", ("", "drop table trusted_text; select nonsense"))
    with pytest.raises(Exception, match="nonsense"):
        await Held(Memory(first)).recall("Anna", SCOPE)
    monkeypatch.undo()
    connection = sqlite3.connect(first / "memory.db")
    assert connection.execute("pragma user_version").fetchone() == (1,)
    connection.close()
    assert len(before) == len((first / "memory.db").read_bytes())
    async with Memory(first) as memory:
        assert "my sister Anna lives in Lisbon" in await Held(memory).texts("where does Anna live?", SCOPE)
