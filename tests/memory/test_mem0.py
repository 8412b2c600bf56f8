"""The contract with mem0: what we use of it, pinned; a failure means that `facts.py` must be looked at."""

import importlib.metadata
import inspect
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from corral.memory import HashingEmbedder, LongTermUnavailable, Scope
from corral.memory.facts import Fact, Facts
from corral.memory.opened import Opened
from corral.policy import Label

TESTED = "2.2."
OWNER = {"user_id": "ada", "agent_id": "main"}


@pytest.fixture
def opened(folder: Path) -> Generator[Opened]:
    opened = Opened(folder, HashingEmbedder())
    yield opened
    opened.close()


@pytest.fixture
def mem0(opened: Opened) -> Any:
    """mem0.Memory as we configure it, with one fact of Ada's in it."""
    opened.facts.add(Fact("Ada drinks oat milk", Label.user(), 1_700_000_000.0), Scope("ada"))
    return opened.facts._mem0()


def test_the_installed_version_is_one_that_this_was_written_for() -> None:
    assert importlib.metadata.version("mem0ai").startswith(TESTED)


def test_it_calls_what_we_override_and_takes_what_we_pass(mem0: Any) -> None:
    from mem0.embeddings.base import EmbeddingBase
    from mem0.llms.base import LLMBase
    from mem0.vector_stores.base import VectorStoreBase

    assert VectorStoreBase.__abstractmethods__ == {
        *("create_col", "insert", "search", "delete", "update", "get"),
        *("list_cols", "delete_col", "col_info", "list", "reset"),
    }
    assert EmbeddingBase.__abstractmethods__ == {"embed"}
    assert LLMBase.__abstractmethods__ == {"generate_response"}
    parameters = {name: set(inspect.signature(getattr(mem0, name)).parameters) for name in ("add", "update", "search")}
    assert {"messages", "user_id", "agent_id", "metadata", "infer"} <= parameters["add"]
    assert {"memory_id", "text"} <= parameters["update"]
    assert {"query", "top_k", "filters", "threshold"} <= parameters["search"]


def test_telemetry_and_downloads_are_off(mem0: Any) -> None:
    import mem0.memory.main
    import mem0.memory.telemetry
    import mem0.utils.spacy_models

    assert mem0.memory.telemetry.MEM0_TELEMETRY is False
    assert mem0.memory.main.MEM0_TELEMETRY is False
    assert mem0.memory.telemetry.client_telemetry.posthog is None
    assert mem0.utils.spacy_models.get_nlp_lemma() is None
    assert mem0.utils.spacy_models.get_nlp_full() is None


def test_it_works_on_our_store(mem0: Any, opened: Opened) -> None:
    assert type(mem0.vector_store).__name__ == "HeldStore"
    found = mem0.search("milk", filters=OWNER, threshold=0.0)["results"]
    assert [one["memory"] for one in found] == ["Ada drinks oat milk"]
    listed = mem0.get_all(filters=OWNER)["results"]
    assert [one["memory"] for one in listed] == ["Ada drinks oat milk"]
    assert mem0.get(listed[0]["id"])["memory"] == "Ada drinks oat milk"
    mem0.delete(listed[0]["id"])
    assert opened.stats(None)["facts"] == 0


def test_it_never_finds_another_users_fact(mem0: Any) -> None:
    other = {"user_id": "bob", "agent_id": "main"}
    assert mem0.search("milk", filters=other, threshold=0.0)["results"] == []
    assert mem0.get_all(filters=other)["results"] == []


def test_its_history_is_in_our_file(mem0: Any, folder: Path) -> None:
    connection = sqlite3.connect(folder / "memory.db")
    rows = connection.execute("select new_memory, event from history").fetchall()
    columns = [row[1] for row in connection.execute("pragma table_info(messages)")]
    connection.close()
    assert rows == [("Ada drinks oat milk", "ADD")]
    assert {"session_scope", "content"} <= set(columns)


def test_it_is_refused_a_model(mem0: Any) -> None:
    with pytest.raises(LongTermUnavailable):
        mem0.llm.generate_response([])


def test_a_fact_without_an_owner_is_refused(mem0: Any) -> None:
    with pytest.raises(LongTermUnavailable):
        mem0.add("nobody's", user_id="ada", infer=False)


def test_it_can_not_delete_everybodys_facts(mem0: Any, opened: Opened) -> None:
    with pytest.raises(LongTermUnavailable):
        mem0.vector_store.reset()
    assert opened.stats(None)["facts"] == 1


def test_its_failure_is_typed(mem0: Any, opened: Opened) -> None:
    (id,) = (row.uid for row in opened.store.page(opened.store.space(Scope("ada"))))
    mem0.close()
    with pytest.raises(LongTermUnavailable):
        opened.facts.history(id, Scope("ada"))
    opened.facts = Facts(opened.store, opened.search, opened.database.path.parent)
