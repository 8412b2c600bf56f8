"""The file: shared, killed, damaged, full, newer, copied."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from corral.memory import Memory, Scope, StoreCorrupt, StoreTooNew, StoreUnavailable

from .conftest import Held, files_with

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
"""Of two kills each; fifteen for the figure in `benchmarks/README.md`."""

WRITER = """
import sys, threading
from pathlib import Path
import anyio
from corral.memory import Memory, Scope, Turn
from corral.policy import Gate, Label, Policy, SecurityPolicy

folder, name = Path(sys.argv[1]), sys.argv[2]
gate_of = lambda: Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
scope, lock = Scope("writer", "main"), threading.Lock()

async def write(memory, thread):
    gate, number = gate_of(), 0
    while True:
        text = f"{name} {thread} {number}"
        action = Memory.action("write", scope)
        await gate.perform(
            action, lambda a: memory.remember([Turn("user", text, Label.user())], scope, admission=a)
        )
        with lock:
            print(text, flush=True)
        number += 1

memory = Memory(folder)
for thread in range(8):
    threading.Thread(target=anyio.run, args=(write, memory, thread)).start()
"""


async def all_texts(folder: Path) -> set[str]:
    async with Memory(folder) as memory:
        return {line["text"] for line in await Held(memory).export(Scope("writer", "main"))}


def write_and_kill(folder: Path, name: str, acknowledged: int) -> list[str]:
    """Two processes of eight threads, killed in the middle once each has said so often that it wrote."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), f"{name}{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    said: list[str] = []
    for writer in writers:
        assert writer.stdout is not None
        said += [writer.stdout.readline() for _ in range(acknowledged)]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        assert writer.stdout is not None
        # The last line may have been cut short by the kill.
        said += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait(10)
    return [line.rstrip("\n") for line in said if line.endswith("\n")]


async def test_no_acknowledged_write_is_lost_when_processes_are_killed(folder: Path) -> None:
    said: list[str] = []
    with anyio.fail_after(20 * ROUNDS):
        for number in range(ROUNDS):
            said += await to_thread.run_sync(write_and_kill, folder, f"p{number}", 40)
    assert len(said) >= 80 * ROUNDS
    kept = await all_texts(folder)
    assert set(said) <= kept
    print(f"{2 * ROUNDS} kills, {len(said)} acknowledged writes, {len(kept)} found, none of them lost")  # noqa: T201
    connection = sqlite3.connect(folder / "memory.db")
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.execute("insert into word_index(word_index) values('integrity-check')")
    connection.close()


async def test_many_tasks_share_one_memory(held: Held) -> None:
    async def write(number: int) -> None:
        await held.remember(Scope(session=str(number)), *(f"turn {number} {n}" for n in range(5)))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(write, number)
    assert (await held.memory.stats(Scope()))["episodes"] == 100


def write_file(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    (folder / "memory.db").write_bytes(data)
    return folder / "memory.db"


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.glob("memory.db*")) if path.stat().st_mode & 0o077]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(folder: Path, scope: Scope) -> None:
    file = write_file(folder, b"this is not a database" * 100)
    with pytest.raises(StoreCorrupt) as caught:
        await Held(Memory(folder)).recall("x", scope)
    assert caught.value.path == file
    assert file.read_bytes() == b"this is not a database" * 100


async def test_a_database_of_another_program_is_refused_and_left_alone(folder: Path, scope: Scope) -> None:
    connection = sqlite3.connect(write_file(folder, b""))
    connection.execute("create table theirs(a)")
    connection.close()
    with pytest.raises(StoreCorrupt, match="another program"):
        await Held(Memory(folder)).recall("x", scope)


async def test_a_newer_store_is_refused(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        await Held(memory).remember(scope, "x")
    connection = sqlite3.connect(folder / "memory.db")
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(StoreTooNew) as caught:
        await Held(Memory(folder)).recall("x", scope)
    assert caught.value.found == 99


async def test_a_damaged_store_is_a_typed_error(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        await Held(memory).remember(scope, *(f"turn {n} " + "words " * 100 for n in range(200)))
    file = folder / "memory.db"
    data = bytearray(file.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    file.write_bytes(data)
    memory = Memory(folder)
    with pytest.raises(StoreCorrupt):
        await Held(memory).recall("words", scope)
    await memory.close()


async def test_a_folder_that_can_not_be_made_is_a_typed_error(tmp_path: Path, scope: Scope) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await Held(Memory(tmp_path / "file" / "data")).recall("x", scope)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("a file system can be mounted by root alone, and not in every container")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)


async def write_until_it_fails(held: Held, scope: Scope, acknowledged: list[str]) -> None:
    for number in range(100):
        await held.remember(scope, f"turn {number} " + os.urandom(60_000).hex())
        acknowledged.append(f"turn {number}")


async def test_on_a_full_disk_writing_is_a_typed_error_and_what_was_acknowledged_stays(
    small_disk: Path, scope: Scope
) -> None:
    acknowledged: list[str] = []
    async with Memory(small_disk / "data") as memory:
        with pytest.raises(StoreUnavailable, match=r"full|I/O"):
            await write_until_it_fails(Held(memory), scope, acknowledged)
        assert 5 < len(acknowledged) < 100
        assert (await Held(memory).recall("turn 3", scope))[0].text.startswith("turn 3 ")
    async with Memory(small_disk / "data") as memory:
        kept = [" ".join(line["text"].split()[:2]) for line in await Held(memory).export(scope)]
        assert kept == acknowledged
    connection = sqlite3.connect(small_disk / "data" / "memory.db")
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()
    enlarge(small_disk)
    async with Memory(small_disk / "data") as memory:
        await Held(memory).remember(scope, "there is room again")
        assert "there is room again" in await Held(memory).texts("room again", scope)


async def test_a_huge_text_is_cut_in_the_middle_and_an_empty_one_skipped(held: Held, scope: Scope) -> None:
    receipt = await held.remember(scope, "needle " + "hay " * 1_000_000, "", " \n\t", "\0", "\ud800")
    assert receipt.skipped == 2
    text = (await held.export(scope))[0]["text"]
    assert len(text) < 1_000_100
    assert "characters not stored" in text
    assert (await held.texts("needle", scope))[0].startswith("needle hay")


async def test_a_closed_memory_says_so(folder: Path, scope: Scope) -> None:
    memory = Memory(folder)
    await memory.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await Held(memory).recall("x", scope)


def test_nothing_is_made_before_the_first_use(folder: Path) -> None:
    Memory(folder)
    assert not folder.exists()


async def test_only_the_user_can_read_the_files(held: Held, scope: Scope, folder: Path) -> None:
    await held.remember(scope, "x")
    assert open_to_others(folder) == []


@contextmanager
def writing(folder: Path) -> Generator[Callable[[int], set[str]]]:
    """A process that writes all the time; gives a function that reads so many of its acknowledgements."""
    with tempfile.TemporaryFile() as errors:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), "w"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert writer.stdout is not None
        said = writer.stdout
        try:
            yield lambda count: {said.readline().strip() for _ in range(count)}
        finally:
            writer.kill()
            said.close()
            writer.wait(10)
        errors.seek(0)
        assert errors.read() == b""


async def test_a_backup_is_whole_while_others_write(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with writing(folder) as acknowledged:
        before = acknowledged(50)
        async with Memory(folder) as memory:
            await memory.backup(tmp_path / "copy" / "memory.db")
        # Longer than what lay in the pipe when the copy was made.
        after = acknowledged(3_000)
    copied = await all_texts(tmp_path / "copy")
    assert before <= copied
    assert not after <= copied
    connection = sqlite3.connect(tmp_path / "copy" / "memory.db")
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_forgetting_goes_on_while_others_write(folder: Path) -> None:
    with writing(folder) as acknowledged:
        acknowledged(50)
        async with Memory(folder) as memory:
            held = Held(memory)
            for number in range(3):
                await held.remember(Scope("ada"), f"my pin is zq7391xk{number}")
                assert len((await held.forget(f"zq7391xk{number}", Scope("ada"))).ids) == 1
                assert await held.recall("my pin", Scope("ada")) == []
                assert len(acknowledged(50)) == 50
    async with Memory(folder) as memory:
        held = Held(memory)
        await held.remember(Scope("ada"), "nobody else is here")
        assert (await held.forget("nobody", Scope("ada"))).complete
    assert files_with(b"zq7391xk", folder) == []


IMPORTS = """
import os, sys
before = set(os.listdir("."))
from corral.memory import *
heavy = {"mem0", "numpy", "dspy", "mcp", "docker", "httpx"} & set(sys.modules)
assert not heavy, heavy
assert set(os.listdir(".")) == before
"""


def test_importing_is_light_and_does_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=tmp_path, check=True, timeout=30)
