"""Hostile code in a Docker session: what it tries, and what comes of it. Bounded, and aimed at TEST-NET-1 at most."""

import json
import struct
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from corral.sandbox import (
    ATTACKS,
    Attack,
    AttackKind,
    CellErrorKind,
    DockerProvider,
    Execution,
    Held,
    Host,
    Limits,
    Sandbox,
    SandboxSpec,
    check,
)

pytestmark = pytest.mark.docker

SMALL = Limits(memory_bytes=128 * 1024**2, processes=32, disk_bytes=8 * 1024**2, open_files=64)


@pytest.fixture
async def sandbox(container_session: Sandbox) -> Sandbox:
    return container_session


@pytest.fixture
async def small(docker: DockerProvider) -> AsyncGenerator[Sandbox]:
    async with await docker.open(SandboxSpec(SMALL, "test-attacks")) as session:
        yield session


async def attack(sandbox: Sandbox, code: str, timeout: float = 5, **more: Any) -> Execution:
    with anyio.fail_after(timeout + 5):
        return await sandbox.execute(code, timeout=timeout, **more)


async def is_well(sandbox: Sandbox) -> bool:
    with anyio.fail_after(5):
        return (await sandbox.execute("6 * 7", timeout=5)).value == 42


@pytest.mark.parametrize("attack", ATTACKS, ids=[f"{attack.kind}-{attack.name}" for attack in ATTACKS])
async def test_the_attack_is_held(docker: DockerProvider, attack: Attack) -> None:
    [outcome] = await check(docker, [attack])
    assert outcome.held, outcome


def test_there_are_attacks_of_every_kind_and_no_two_alike() -> None:
    assert len(ATTACKS) >= 130
    assert {attack.kind for attack in ATTACKS} == set(AttackKind)
    assert len({(attack.kind, attack.name) for attack in ATTACKS}) == len(ATTACKS)


async def test_a_place_that_does_not_hold_is_found_out(docker: DockerProvider) -> None:
    harmless = Attack(AttackKind.NETWORK, "prints", "print('got through')")
    deaf = Attack(AttackKind.PROTOCOL, "says nothing", "1", Held.BROKEN)
    told: list[bool] = []
    outcomes = await check(docker, [harmless, deaf], progress=lambda outcome: told.append(outcome.held))
    assert [outcome.held for outcome in outcomes] == told == [False, False]


async def test_a_fork_bomb_is_bounded_and_gone_after_the_session(docker: DockerProvider, small: Sandbox) -> None:
    bomb = (
        "import os, time\nfor n in range(10_000):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)"
    )
    async with await docker.open(SandboxSpec(SMALL)) as hostile:
        execution = await attack(hostile, bomb)
        assert execution.error is not None
        assert "BlockingIOError" in execution.error.message
        assert await is_well(small)
    count = "import os\nsum(name.isdecimal() for name in os.listdir('/proc'))"
    with anyio.fail_after(5):
        while (await small.execute(count, timeout=5)).value > 4:
            await anyio.lowlevel.checkpoint()


async def test_a_fork_bomb_of_children_that_fork_is_ended_with_its_session(
    docker: DockerProvider, small: Sandbox
) -> None:
    bomb = (
        "import os\nwhile True:\n    try:\n        if os.fork() == 0:\n            os.setsid()\n"
        "    except OSError:\n        pass"
    )
    async with await docker.open(SandboxSpec(SMALL)) as hostile:
        execution = await attack(hostile, bomb, timeout=0.5)
        assert execution.error is not None
        assert execution.error.kind is CellErrorKind.TIMEOUT
    assert await is_well(small)


async def test_a_memory_bomb_is_a_crash_and_the_session_recovers(small: Sandbox) -> None:
    execution = await attack(
        small, "hoard = []\nwhile True:\n    hoard.append(bytearray(b'x' * 10_000_000))", timeout=20
    )
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.CRASH
    assert "signal 9" in execution.error.message
    assert await is_well(small)


async def test_a_full_disk_is_an_error_and_freed_with_the_session(docker: DockerProvider, small: Sandbox) -> None:
    async with await docker.open(SandboxSpec(SMALL)) as hostile:
        execution = await attack(hostile, "open('big', 'wb').write(b'x' * 20_000_000)")
        assert execution.error is not None
        assert "No space left" in execution.error.message
    write = "open('x', 'wb').write(b'x' * 4_000_000)"
    with anyio.fail_after(5):
        while (await small.execute(write, timeout=5)).error is not None:
            await anyio.lowlevel.checkpoint()


async def test_a_tree_that_is_hard_to_delete_is_deleted(docker: DockerProvider, small: Sandbox) -> None:
    code = (
        "import os\nroot = os.getcwd()\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n"
        "open('file', 'w').write('x' * 6_000_000)\nos.chdir(root)\nos.chmod('d', 0)\nroot"
    )
    async with await docker.open(SandboxSpec(SMALL)) as hostile:
        execution = await attack(hostile, code)
        assert execution.error is None
    with anyio.fail_after(10):
        while (await small.execute(f"import os\nos.path.exists({execution.value!r})", timeout=5)).value:
            await anyio.lowlevel.checkpoint()


async def test_endless_output_is_capped_until_time_is_up(sandbox: Sandbox) -> None:
    execution = await attack(sandbox, "while True:\n    print('x' * 1000)", timeout=0.3)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert execution.truncated
    assert len(execution.output) < 70_000
    assert await is_well(sandbox)


async def test_endless_output_of_a_subprocess_is_capped(sandbox: Sandbox) -> None:
    execution = await attack(sandbox, "import subprocess\nsubprocess.run(['/usr/bin/yes']).returncode", timeout=5)
    assert len(execution.output) < 70_000
    assert await is_well(sandbox)


async def test_closed_standard_streams_hurt_one_cell_at_most(sandbox: Sandbox) -> None:
    await attack(sandbox, "import sys, os\nsys.stdout.close()\nos.close(1)\nos.close(2)")
    with anyio.fail_after(5):
        await sandbox.execute("print('x')", timeout=5)
        assert await is_well(sandbox)


# Frames that the guest forges. It may: what counts is that they give it nothing.

SEND = """
import json, os, socket, stat, struct
def frame(message, blob=b""):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">II", len(body), len(blob)) + body + blob
def sockets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            pass
    return found
def forge(data):
    for descriptor in sockets():
        try:
            os.set_blocking(descriptor, True)
            os.write(descriptor, data)
        except OSError:
            pass
"""


async def test_numbers_in_a_forged_end_cannot_make_the_host_read_more(docker: DockerProvider) -> None:
    code = (
        f"{SEND}\ncell = ask.__closure__[1].cell_contents.cell\n"
        "forge(frame({'op': 'done', 'cell': cell, 'size': 10**12, 'beyond': -5}))\nimport time\ntime.sleep(30)"
    )

    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return None

    async with await docker.open() as hostile:
        execution = await attack(hostile, code, host=Host(["ask"], tell))
    assert len(execution.output) <= Limits().output_bytes + 100


async def test_a_forged_call_reaches_no_more_than_a_tool(docker: DockerProvider) -> None:
    called: list[str] = []

    async def record(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        called.append(name)

    code = (
        f"{SEND}\nsession = ask.__closure__[1].cell_contents\n"
        "def call(key, **more):\n"
        "    message = {'op': 'call', 'cell': session.cell, 'call': key, 'name': key, 'args': [], 'kwargs': {}}\n"
        "    forge(frame({**message, **more}))\n"
        "call('ask')\ncall('delete_everything')\ncall('__class__')\ncall('ask', cell='0' * 16)\n"
        "call('ask2', name='ask', args='x')\ncall('ask3', name=['ask'])\n"
        "ask()"
    )
    async with await docker.open() as hostile:
        execution = await attack(hostile, code, host=Host(["ask"], record))
    assert execution.error is None
    assert called == ["ask", "ask"]


async def test_a_flood_of_calls_is_answered_a_few_at_a_time(docker: DockerProvider) -> None:
    inside = most = 0

    async def slow(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await anyio.sleep_forever()
        finally:
            inside -= 1

    code = (
        f"{SEND}\nsession = ask.__closure__[1].cell_contents\n"
        "for n in range(100_000):\n"
        "    message = {'op': 'call', 'cell': session.cell, 'call': str(n), 'name': 'ask', 'args': [], 'kwargs': {}}\n"
        "    forge(frame(message))\n"
    )
    async with await docker.open() as hostile:
        with anyio.move_on_after(1):
            await hostile.execute(code, timeout=20, host=Host(["ask"], slow))
        assert (await attack(hostile, "1")) is not None
    assert inside == 0
    assert 0 < most <= 64


async def test_a_deep_or_huge_value_is_shown_not_sent(sandbox: Sandbox) -> None:
    deep = await attack(sandbox, "x = []\nfor n in range(500):\n    x = [x]\nx")
    assert isinstance(deep.value, str)
    huge = await attack(sandbox, "'x' * 50_000_000")
    assert isinstance(huge.value, str)
    assert len(huge.value) < 3_000_000
    cyclic = await attack(sandbox, "x = []\nx.append(x)\nx")
    assert cyclic.value == "[[...]]"


async def test_the_id_of_a_cell_is_not_to_be_guessed(sandbox: Sandbox) -> None:
    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return None

    host = Host(["ask"], tell)
    ids = {(await sandbox.execute("ask.__closure__[1].cell_contents.cell", timeout=5, host=host)).value for _ in "12"}
    assert len(ids) == 2
    assert all(len(id) == 16 for id in ids)


def test_the_protocol_of_these_tests_is_the_real_one() -> None:
    from corral.sandbox.wire import Decoder

    body = json.dumps({"op": "x"}).encode()
    assert list(Decoder(0).feed(struct.pack(">II", len(body), 0) + body)) == [({"op": "x"}, b"")]
