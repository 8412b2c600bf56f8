"""Hostile code in a Docker session: what it tries, and what comes of it. Bounded, and aimed at TEST-NET-1 at most."""

import json
import struct
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from corral.sandbox import (
    CellErrorKind,
    DockerProvider,
    Execution,
    Host,
    Limits,
    Sandbox,
    SandboxProtocolError,
    SandboxSpec,
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


REFUSED = [
    "open('/proc/1/environ').read()",
    "open('/proc/1/mem', 'rb')",
    "open('/proc/1/mem', 'r+b')",
    "import os; os.listdir('/proc/1/fd')",
    "open('/proc/1/fd/1', 'w')",
    "import os; os.kill(1, 9)",
    "import os; os.setuid(0)",
    "import os; os.seteuid(0)",
    "import os; os.setgroups([0])",
    "open('/evil', 'w')",
    "open('/etc/passwd', 'a')",
    "open('/tmp/evil', 'w')",
    "open('/run/corral/guest/session.py', 'a')",
    "import os; os.symlink('/etc', '/tmp/evil')",
    "import os; os.mknod('disk', 0o60600, os.makedev(8, 0))",
    "import os; os.chroot('.')",
    "import os; os.link('/etc/passwd', '/tmp/passwd')",
    "open('/proc/sys/kernel/core_pattern', 'w')",
    "open('/proc/self/oom_score_adj', 'w').write('-1000')",
    "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
    "import socket; socket.socket(socket.AF_INET)",
    "import socket; socket.socket(socket.AF_INET6)",
    "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "import socket; socket.socket(38)",  # AF_ALG
    "import socket; socket.socket(socket.AF_UNIX).connect('/run/corral/host.sock')",
    "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "import socket; socket.getaddrinfo('example.com', 80)",
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (10_000, 10_000))",
    "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))",
    "import os; os.nice(-5)",
]


@pytest.mark.parametrize("code", REFUSED)
async def test_it_is_refused(sandbox: Sandbox, code: str) -> None:
    execution = await attack(sandbox, code)
    assert execution.error is not None, execution
    assert execution.error.kind is CellErrorKind.ERROR
    assert await is_well(sandbox)


SYSCALL = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
number = {"x86_64": NUMBERS[0], "aarch64": NUMBERS[1]}[platform.machine()]
result = libc.syscall(number, *ARGUMENTS)
[result, errno.errorcode.get(ctypes.get_errno())]
"""


@pytest.mark.parametrize(
    ("name", "numbers", "arguments"),
    [
        ("ptrace", (101, 117), (16, 1, 0, 0)),
        ("process_vm_readv", (310, 270), (1, 0, 0, 0, 0, 0)),
        ("mount", (165, 40), (0, 0, 0, 0, 0)),
        ("unshare user namespace", (272, 97), (0x10000000,)),
        ("setns", (308, 268), (0, 0)),
        ("clone user namespace", (56, 220), (0x10000000, 0, 0, 0, 0)),
        ("bpf", (321, 280), (0, 0, 0)),
        ("perf_event_open", (298, 241), (0, 0, 0, 0, 0)),
        ("io_uring_setup", (425, 425), (1, 0)),
        ("userfaultfd", (323, 282), (0,)),
        ("keyctl", (250, 219), (0, 0, 0, 0, 0)),
        ("open_by_handle_at", (304, 265), (0, 0, 0)),
        ("shmget", (29, 194), (1, 4096, 0o1666)),
        ("mq_open", (240, 180), (0, 0, 0, 0)),
        ("personality", (135, 92), (0x0040000,)),
        ("fsopen", (430, 430), (0, 0)),
    ],
)
async def test_a_system_call_with_no_use_is_refused(
    sandbox: Sandbox, name: str, numbers: tuple[int, int], arguments: tuple[int, ...]
) -> None:
    code = SYSCALL.replace("NUMBERS", str(numbers)).replace("ARGUMENTS", str(arguments))
    assert (await attack(sandbox, code)).value == [-1, "EPERM"]


async def test_clone3_is_not_there_so_that_flags_can_be_seen(sandbox: Sandbox) -> None:
    code = SYSCALL.replace("NUMBERS", "(435, 435)").replace("ARGUMENTS", "(0, 0)")
    assert (await attack(sandbox, code)).value == [-1, "ENOSYS"]


async def test_a_system_call_of_another_abi_kills_only_the_session(sandbox: Sandbox) -> None:
    code = "import ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)"
    execution = await attack(sandbox, code)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.CRASH
    assert await is_well(sandbox)


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


async def test_a_thread_bomb_is_bounded(small: Sandbox) -> None:
    bomb = (
        "import threading\nevent = threading.Event()\nthreads = []\ntry:\n"
        "    for n in range(10_000):\n        threads.append(threading.Thread(target=event.wait, daemon=True))\n"
        "        threads[-1].start()\nfinally:\n    event.set()"
    )
    execution = await attack(small, bomb)
    assert execution.error is not None
    assert "can't start new thread" in execution.error.message
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


async def test_small_files_are_bounded_too(docker: DockerProvider) -> None:
    async with await docker.open(SandboxSpec(SMALL)) as hostile:
        execution = await attack(hostile, "for n in range(100_000):\n    open(str(n), 'w').close()", timeout=20)
    assert execution.error is not None
    assert "No space left" in execution.error.message


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


async def test_descriptors_are_bounded(small: Sandbox) -> None:
    execution = await attack(small, "files = [open('/dev/null') for n in range(100_000)]")
    assert execution.error is not None
    assert "Too many open files" in execution.error.message
    assert await is_well(small)


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


async def test_a_stopped_session_is_killed(sandbox: Sandbox) -> None:
    execution = await attack(sandbox, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", timeout=0.2)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert await is_well(sandbox)


async def test_a_sibling_session_cannot_be_read_or_signalled(docker: DockerProvider, sandbox: Sandbox) -> None:
    find = "import os\nopen('secret', 'w').write('s')\n[os.getcwd(), os.getpid(), os.getuid()]"
    async with await docker.open() as hostile:
        folder, pid, uid = (await sandbox.execute(find, timeout=5)).value
        for code in (
            f"open('{folder}/secret').read()",
            f"import os; os.listdir('{folder}')",
            f"open('{folder}/new', 'w')",
            f"import os; os.kill({pid}, 0)",
            f"import os; os.kill({pid}, 9)",
            f"open('/proc/{pid}/environ').read()",
            f"open('/proc/{pid}/mem', 'rb')",
            f"import os; os.listdir('/proc/{pid}/fd')",
            f"import os; os.setuid({uid})",
        ):
            execution = await attack(hostile, code)
            assert execution.error is not None, code
        await attack(hostile, "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass")
    assert await is_well(sandbox)
    assert (await sandbox.execute("open('secret').read()", timeout=5)).value == "s"


async def test_abstract_sockets_do_not_cross_sessions(docker: DockerProvider, sandbox: Sandbox) -> None:
    listen = "import socket\nlistener = socket.socket(socket.AF_UNIX)\nlistener.bind('\\0here')\nlistener.listen()"
    assert (await sandbox.execute(listen, timeout=5)).error is None
    async with await docker.open() as hostile:
        execution = await attack(hostile, "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0here')")
    assert execution.error is not None


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


@pytest.mark.parametrize(
    "forged",
    [
        "frame(b'not json')",
        "frame(b'[1]')",
        "frame(b'[' * 100_000)",
        "struct.pack('>II', 0xffffffff, 0)",
        "struct.pack('>II', 2, 0xffffffff) + b'{}'",
        "frame({'op': 'done'}) * 200",
        "frame({'op': 'done', 'cell': 'forged', 'value': 1}) * 200",
        "frame({'op': 'ready', 'applied': {}}) * 200",
        "frame({'op': 'file', 'file': 'x'}) * 200",
        "frame({'op': 'exited', 'session': 1, 'status': 0}) * 200",
        "b'garbage' * 1000",
    ],
)
async def test_junk_on_the_channel_ends_that_session_only(
    docker: DockerProvider, sandbox: Sandbox, forged: str
) -> None:
    async with await docker.open() as hostile:
        with pytest.raises(SandboxProtocolError):
            await attack(hostile, f"{SEND}\nforge({forged})\nimport time\ntime.sleep(30)", timeout=20)
    assert await is_well(sandbox)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"size": "many", "beyond": 0},
        {"size": 0, "beyond": 0, "error": 5},
        {"size": 0, "beyond": 0, "error": {"kind": "crash", "message": "x"}},
        {"size": 0, "beyond": 0, "submitted": {"other": 1}},
        {"size": 0, "beyond": 0, "submitted": [1]},
    ],
)
async def test_a_forged_end_of_the_cell_has_to_be_well_formed(docker: DockerProvider, report: dict[str, Any]) -> None:
    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return None

    # The running cell's id is known to the code in it: it is its own.
    code = (
        f"{SEND}\nimport sys, gc\n"
        "cell = next(o._cell for o in gc.get_objects() if type(o).__name__ == 'Session')\n"
        f"forge(frame({{'op': 'done', 'cell': cell, **{report!r}}}))\nimport time\ntime.sleep(30)"
    ).replace("gc.get_objects()", "[ask.__closure__[1].cell_contents]")
    async with await docker.open() as hostile:
        with pytest.raises(SandboxProtocolError):
            await attack(hostile, code, timeout=20, host=Host(["ask"], tell, outputs=["answer"]))


async def test_numbers_in_a_forged_end_cannot_make_the_host_read_more(docker: DockerProvider) -> None:
    code = (
        f"{SEND}\ncell = ask.__closure__[1].cell_contents._cell\n"
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
        "    message = {'op': 'call', 'cell': session._cell, 'call': key, 'name': key, 'args': [], 'kwargs': {}}\n"
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
        "    message = {'op': 'call', 'cell': session._cell, 'call': str(n), 'name': 'ask', 'args': [], 'kwargs': {}}\n"
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


async def test_an_error_that_cannot_be_shown_is_an_error(sandbox: Sandbox) -> None:
    code = "class Odd(Exception):\n    def __str__(self):\n        raise SystemExit\nraise Odd"
    execution = await attack(sandbox, code)
    assert execution.error is not None
    assert await is_well(sandbox)


async def test_a_repr_that_loops_is_stopped(sandbox: Sandbox) -> None:
    code = "class Odd:\n    def __repr__(self):\n        while True:\n            pass\nOdd()"
    execution = await attack(sandbox, code, timeout=0.2)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert await is_well(sandbox)


async def test_the_id_of_a_cell_is_not_to_be_guessed(sandbox: Sandbox) -> None:
    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return None

    host = Host(["ask"], tell)
    ids = {(await sandbox.execute("ask.__closure__[1].cell_contents._cell", timeout=5, host=host)).value for _ in "12"}
    assert len(ids) == 2
    assert all(len(id) == 16 for id in ids)


def test_the_protocol_of_these_tests_is_the_real_one() -> None:
    from corral.sandbox.wire import Decoder

    body = json.dumps({"op": "x"}).encode()
    assert list(Decoder(0).feed(struct.pack(">II", len(body), 0) + body)) == [({"op": "x"}, b"")]
