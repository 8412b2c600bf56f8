"""What only Docker sessions do: files, processes, crashes, and containers that leave nothing behind."""

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
import pytest
from anyio import to_thread

from corral.sandbox import (
    CellErrorKind,
    DockerProvider,
    Host,
    Limits,
    Sandbox,
    SandboxFileError,
    SandboxGone,
    SandboxSpec,
    SandboxUnavailable,
    probe,
)
from corral.sandbox.engine import Engine
from corral.sandbox.flags import Settings, host_config
from corral.sandbox.inforce import ignored

from .conftest import containers

pytestmark = pytest.mark.docker


@pytest.fixture
async def sandbox(container_session: Sandbox) -> Sandbox:
    return container_session


async def test_a_cell_runs_in_the_container_as_a_user_of_its_own(docker: DockerProvider, sandbox: Sandbox) -> None:
    code = "import os, socket\n[socket.gethostname(), os.getuid(), os.getpid()]"
    async with await docker.open() as other:
        host, uid, pid = (await sandbox.execute(code, timeout=5)).value
        other_host, other_uid, other_pid = (await other.execute(code, timeout=5)).value
    assert host == other_host == sandbox.id.partition(".")[0]
    assert 0 not in (uid, other_uid)
    assert uid != other_uid
    assert pid != other_pid


async def test_different_limits_get_a_container_each(docker: DockerProvider, sandbox: Sandbox) -> None:
    async with await docker.open(SandboxSpec(Limits(memory_bytes=256 * 1024**2))) as other:
        assert other.id.partition(".")[0] != sandbox.id.partition(".")[0]


async def test_the_limits_asked_for_are_in_force(docker_image: None) -> None:
    limits = Limits(memory_bytes=200 * 1024**2, cpus=0.5, processes=40, disk_bytes=8 * 1024**2, open_files=100)
    found = await probe(limits)
    assert (found.problem, found.ignored) == ("", ())
    assert found.in_force["memory_bytes"] == limits.memory_bytes
    assert found.in_force["cpus"] == limits.cpus
    assert found.in_force["processes"] == limits.processes
    assert found.in_force["seccomp"] == "2"


async def test_what_the_engine_does_not_put_in_force_is_told(docker: DockerProvider, sandbox: Sandbox) -> None:
    assert docker.ignored_limits == ()
    asked = Limits(memory_bytes=2**20, cpus=0.5)
    assert ignored(asked, {"memory_bytes": None, "processes": 128, "cpus": 2.0, "disk_bytes": 2**26}) == (
        "memory_bytes",
        "cpus",
    )


async def test_an_engine_without_a_limit_is_noticed_at_the_start(
    docker_image: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlimited(settings: Settings, limits: Limits, folder: Path | None) -> dict[str, Any]:
        config = host_config(settings, limits, folder)
        return {name: value for name, value in config.items() if name not in ("pids_limit", "nano_cpus")}

    monkeypatch.setattr("corral.sandbox.docker.host_config", unlimited)  # as rootless engines on cgroup v1 do
    async with DockerProvider() as provider, await provider.open():
        assert set(provider.ignored_limits) == {"processes", "cpus"}


async def test_threads_of_a_cell_call_tools_at_the_same_time(sandbox: Sandbox) -> None:
    inside = 0
    all_inside = anyio.Event()

    async def meet(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal inside
        inside += 1
        if inside == 4:
            all_inside.set()
        await all_inside.wait()
        return args[0] * 10

    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n    answers = list(pool.map(meet, range(4)))\nanswers"
    )
    with anyio.fail_after(5):
        execution = await sandbox.execute(code, timeout=5, host=Host(["meet"], meet))
    assert execution.value == [0, 10, 20, 30]


async def test_a_thread_left_behind_by_a_cell_does_not_disturb_the_next(sandbox: Sandbox) -> None:
    async def answer(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return 1

    code = (
        "import threading\nstop = threading.Event()\nproblems = []\n"
        "def work():\n    while not stop.is_set():\n        try:\n            ask()\n"
        "        except RuntimeError as error:\n            problems.append(str(error))\n"
        "            stop.wait(0.01)\n"
        "thread = threading.Thread(target=work)\nthread.start()"
    )
    host = Host(["ask"], answer)
    with anyio.fail_after(5):
        await sandbox.execute(code, timeout=5, host=host)
        values = [(await sandbox.execute(f"{n}", timeout=5, host=host)).value for n in range(20)]
        ended = await sandbox.execute("stop.set()\nthread.join()\nthread.is_alive()", timeout=5)
    assert values == list(range(20))
    assert ended.value is False


async def test_a_crash_leaves_other_sessions_alone(docker: DockerProvider, sandbox: Sandbox) -> None:
    async with await docker.open() as other:
        await other.execute("x = 1", timeout=5)
        await sandbox.execute("import os\nos._exit(1)", timeout=5)
        assert (await other.execute("x", timeout=5)).value == 1


async def test_a_loop_in_c_is_killed(sandbox: Sandbox) -> None:
    with anyio.fail_after(5):
        execution = await sandbox.execute("import re\nre.match('(a+)+$', 'a' * 64 + 'b')", timeout=0.1)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT


async def test_a_file_goes_in_and_comes_out(sandbox: Sandbox) -> None:
    data = os.urandom(3_000_000)
    await sandbox.put("in/data.bin", data)
    await sandbox.execute("data = open('in/data.bin', 'rb').read()\nopen('out', 'wb').write(data[::-1])", timeout=5)
    assert await sandbox.get("out") == data[::-1]


async def test_a_module_that_was_put_can_be_imported(sandbox: Sandbox) -> None:
    await sandbox.put("ours.py", b"answer = 42")
    assert (await sandbox.execute("import ours\nours.answer", timeout=5)).value == 42


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\0b"])
async def test_a_path_that_is_not_plain_is_refused(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(SandboxFileError):
        await sandbox.put(path, b"")
    with pytest.raises(SandboxFileError):
        await sandbox.get(path)


async def test_links_and_special_files_are_not_followed(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "import os\nos.symlink('/etc/passwd', 'link')\nos.symlink('/etc', 'folder')\n"
        "os.mkfifo('pipe')\nos.mkdir('dir')",
        timeout=5,
    )
    with anyio.fail_after(5):
        for path in ("link", "folder/passwd", "pipe", "dir", "missing"):
            with pytest.raises(SandboxFileError):
                await sandbox.get(path)
        for path in ("link", "folder/new", "pipe", "dir"):
            with pytest.raises(SandboxFileError):
                await sandbox.put(path, b"x")


async def test_a_file_over_the_limit_is_refused(docker: DockerProvider) -> None:
    async with await docker.open(SandboxSpec(Limits(file_bytes=1000))) as sandbox:
        with pytest.raises(SandboxFileError, match="1001 bytes"):
            await sandbox.put("a", b"x" * 1001)
        await sandbox.execute("open('b', 'w').write('x' * 1001)", timeout=5)
        with pytest.raises(SandboxFileError, match="larger than 1000"):
            await sandbox.get("b")


async def test_output_of_a_subprocess_is_in_order(sandbox: Sandbox) -> None:
    code = "import subprocess, sys\nprint('a')\nsubprocess.run(['/bin/echo', 'b'])\nprint('c', file=sys.stderr)"
    assert (await sandbox.execute(code, timeout=5)).output == "a\nb\nc\n"


async def test_a_forked_child_that_returns_from_the_cell_ends(sandbox: Sandbox) -> None:
    code = "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nos.getpid()"
    first = await sandbox.execute(code, timeout=5)
    assert first.error is None
    assert (await sandbox.execute("os.getpid()", timeout=5)).value == first.value


async def test_close_leaves_no_container_and_no_folder(docker_image: None, engine: Engine) -> None:
    label = f"test-close-{os.getpid()}"
    async with DockerProvider() as provider:
        await provider.open(SandboxSpec(label=label))
        (id,) = await containers(engine, label)
        mounts = (await to_thread.run_sync(engine.inspect, id))["Mounts"]
        folder = next(mount["Source"] for mount in mounts if mount["Destination"] == "/run/corral")
        assert not await anyio.Path(folder, "host.sock").exists()
    assert await containers(engine, label) == []
    assert not await anyio.Path(folder).exists()


@pytest.mark.parametrize("transport", ["socket", "stdio"])
@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1, 0.2, 0.3])
async def test_a_cancelled_open_leaves_no_container(
    docker_image: None, engine: Engine, seconds: float, transport: Literal["socket", "stdio"]
) -> None:
    label = f"test-cancelled-{os.getpid()}"
    async with DockerProvider(transport=transport) as provider:
        with anyio.move_on_after(seconds):
            await provider.open(SandboxSpec(label=label))
    assert await containers(engine, label) == []


async def test_an_open_cancelled_by_asyncio_leaves_no_container(docker_image: None, engine: Engine) -> None:
    label = f"test-wait-for-{os.getpid()}"
    async with DockerProvider() as provider:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(provider.open(SandboxSpec(label=label)), 0.05)
        assert await containers(engine, label) == []


async def test_a_container_that_does_not_come_up_is_removed(docker_image: None, engine: Engine) -> None:
    label = f"test-broken-{os.getpid()}"
    async with DockerProvider(runtime="no-such-runtime") as provider:
        with pytest.raises(SandboxUnavailable):
            await provider.open(SandboxSpec(label=label))
    assert await containers(engine, label) == []


async def test_a_missing_image_says_what_to_do(docker_image: None) -> None:
    async with DockerProvider(image="corral-sandbox:none") as provider:
        with pytest.raises(SandboxUnavailable, match="corral sandbox build"):
            await provider.open()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("unix:///nonexistent/docker.sock", r"at /nonexistent/docker.sock \(No such file or directory\)"),
        ("unix:///" + "long" * 30, r"\(AF_UNIX path too long\)"),
        ("tcp://127.0.0.1:1", r"at tcp://127.0.0.1:1 \(Connection refused\)"),
        ("tcp://127.0.0.1:99999", "out of range"),
        ("nonsense", "nonsense"),
    ],
)
async def test_no_engine_is_a_sentence(monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    async with DockerProvider() as provider:
        with pytest.raises(SandboxUnavailable, match="no Docker engine answers.*" + reason):
            await provider.open()


async def test_an_engine_that_never_answers_is_given_up_when_its_caller_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called = anyio.Event()
    ended = anyio.Event()

    async def listen(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            called.set()
            await ended.wait()

    server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = server.extra(anyio.abc.SocketAttribute.local_port)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    async with server, anyio.create_task_group() as serving:
        serving.start_soon(server.serve, listen)
        with anyio.fail_after(5):
            async with DockerProvider() as provider, anyio.create_task_group() as opening:
                opening.start_soon(provider.open)
                await called.wait()
                opening.cancel_scope.cancel()
        ended.set()
        serving.cancel_scope.cancel()


async def test_a_container_killed_under_a_cell_is_gone_not_a_hang(docker_image: None, engine: Engine) -> None:
    started = anyio.Event()

    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        started.set()

    async with DockerProvider() as provider:
        sandbox = await provider.open()

        async def run() -> None:
            with pytest.raises(SandboxGone):
                await sandbox.execute("tell()\nwhile True:\n    pass", timeout=60, host=Host(["tell"], tell))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as running:
                running.start_soon(run)
                await started.wait()
                await to_thread.run_sync(engine.remove, sandbox.id.partition(".")[0])
            with pytest.raises(SandboxGone):
                await sandbox.execute("1", timeout=5)
            async with await provider.open() as fresh:
                assert (await fresh.execute("1", timeout=5)).value == 1


async def test_what_is_too_large_to_send_is_an_error_in_the_cell(sandbox: Sandbox) -> None:
    async def answer(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return None

    host = Host(["ask"], answer, ["one", "two", "three"])
    for code in ("ask('x' * 5_000_000)", "x = 'x' * 2_000_000\nSUBMIT(x, x, x)"):
        execution = await sandbox.execute(code, timeout=5, host=host)
        assert execution.error is not None
        assert "can be sent to the host" in execution.error.message
    assert (await sandbox.execute("1", timeout=5)).value == 1


@pytest.mark.parametrize(
    ("cell", "value"),
    [('*"ab", 1', ["a", "b", 1]), ("(n := 3)", 3), ("1; 2", 2), ("n = 1; await __import__('asyncio').sleep(0, n)", 1)],
)
async def test_a_cell_of_one_line_is_what_a_notebook_takes(docker: DockerProvider, cell: str, value: object) -> None:
    async with await docker.open() as sandbox:
        execution = await sandbox.execute(cell, timeout=5)
        assert (execution.value, execution.error) == (value, None)


async def test_an_indented_cell_of_one_line_is_a_syntax_error(docker: DockerProvider) -> None:
    async with await docker.open() as sandbox:
        error = (await sandbox.execute("  1 + 1", timeout=5)).error
        assert error is not None
        assert error.kind is CellErrorKind.SYNTAX
        assert "indent" in error.message
