"""Containers of engines that do not share this machine's file system: everything goes over stdin and stdout."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from corral.sandbox import (
    CellErrorKind,
    DockerProvider,
    Host,
    Limits,
    Packages,
    SandboxGone,
    SandboxSpec,
    SandboxUnavailable,
)
from corral.sandbox.engine import Engine

from .engine_relay import EngineRelay

pytestmark = pytest.mark.docker


async def left(label: str) -> list[str]:
    engine = await to_thread.run_sync(Engine.connect)
    found = await to_thread.run_sync(engine.containers)
    engine.close()
    return [each.id for each in found if each.labels.get("corral.label") == label]


async def test_an_engine_at_the_end_of_a_line_is_used(docker_image: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EngineRelay() as relay:
        monkeypatch.setenv("DOCKER_HOST", relay.address)
        async with DockerProvider(transport="stdio") as provider, await provider.open() as sandbox:
            assert (await sandbox.execute("len(text)", {"text": "x" * 9_000_000}, timeout=10)).value == 9_000_000
            await sandbox.put("in.txt", b"y" * 3_000_000)
            assert await sandbox.get("in.txt") == b"y" * 3_000_000
            async with await sandbox.branch() as branch:
                assert (await branch.execute("len(text)", timeout=5)).value == 9_000_000


async def test_when_the_line_is_cut_sessions_say_so_and_the_container_ends(
    docker_image: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EngineRelay() as relay:
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", relay.address)
            provider = DockerProvider(transport="stdio")
            sandbox = await provider.open(SandboxSpec(label="line-cut"))
            await sandbox.execute("x = 1", timeout=5)

            async def cut(name: str, args: list[object], kwargs: dict[str, object]) -> None:
                await relay.cut()
                await anyio.sleep_forever()

            with anyio.fail_after(10):
                with pytest.raises(SandboxGone):
                    await sandbox.execute("tell()", timeout=60, host=Host(["tell"], cut))
                with pytest.raises(SandboxGone):
                    await sandbox.execute("x", timeout=5)
                await sandbox.close()
                await provider.close()
    with anyio.fail_after(10):
        while await left("line-cut"):
            await anyio.lowlevel.checkpoint()


async def test_what_a_killed_cell_printed_is_told(attached: DockerProvider) -> None:
    async with await attached.open() as sandbox:
        code = (
            "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
            "print('begun')\nwhile True:\n    pass"
        )
        execution = await sandbox.execute(code, timeout=0.3)
        assert execution.error is not None
        assert execution.error.kind is CellErrorKind.TIMEOUT
        assert execution.output == "begun\n"
        crashed = await sandbox.execute("print('last words', flush=True)\nimport os\nos._exit(3)", timeout=5)
        assert crashed.output == "last words\n"


async def test_a_session_that_never_reads_harms_no_other(attached: DockerProvider) -> None:
    stopping = (
        "import os, signal, threading\nthreading.Timer(0.1, os.kill, [os.getpid(), signal.SIGSTOP]).start()\ntell()"
    )
    answered = anyio.Event()
    container = ""

    async def tell(name: str, args: list[object], kwargs: dict[str, object]) -> str:
        while not await to_thread.run_sync(any_stopped, container):
            await anyio.lowlevel.checkpoint()
        answered.set()
        return "z" * 20_000_000

    async with (
        await attached.open() as sandbox,
        await attached.open() as other,
        anyio.create_task_group() as running,
    ):
        container = sandbox.id.partition(".")[0]
        running.start_soon(lambda: sandbox.execute(stopping, timeout=60, host=Host(["tell"], tell)))
        with anyio.fail_after(10):
            await answered.wait()
            assert (await other.execute("6 * 7", timeout=5)).value == 42
        running.cancel_scope.cancel()


def any_stopped(container: str) -> bool:
    """Whether a process of the container is stopped; the engine has to be this machine's."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "T" and container in (folder / "cgroup").read_text():
                return True
    return False


async def test_endless_output_and_junk_are_cut_as_ever(attached: DockerProvider) -> None:
    async with await attached.open(SandboxSpec(Limits(output_bytes=4096))) as sandbox:
        execution = await sandbox.execute("while True:\n    print('x' * 1000)", timeout=0.5)
        assert execution.truncated
        assert len(execution.output) < 5000


CHILD = """
import anyio, sys
from corral.sandbox import DockerProvider, SandboxSpec

async def main():
    async with DockerProvider() as provider, await provider.open(SandboxSpec(label=sys.argv[1])) as sandbox:
        value = (await sandbox.execute("import os; os.path.ismount('/run/corral')", timeout=5)).value
        mounts = (await sandbox.execute("open('/proc/self/mounts').read()", timeout=5)).value
        kind = next(row.split()[2] for row in mounts.splitlines() if row.split()[1] == "/run/corral")
        print(kind, flush=True)
        if len(sys.argv) > 2:
            await anyio.sleep_forever()

anyio.run(main)
"""


def child(*words: str, hidden: Path | None = None) -> list[str]:
    command = [sys.executable, "-c", CHILD, *words]
    if hidden is None:
        return command
    # A mount that the engine does not see: what is put there is on no file system that it shares.
    script = f'mount -t tmpfs none "{hidden}" && exec env TMPDIR="{hidden}" "$0" "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, *command]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hide a folder from the engine")
async def test_without_a_shared_file_system_the_other_way_is_taken_by_itself(
    docker_image: None, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        done = await anyio.run_process(child("hidden", hidden=tmp_path), check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"tmpfs\n"
    assert await left("hidden") == []


async def test_nothing_is_left_of_a_container_whose_owner_was_killed(docker_image: None) -> None:
    code = CHILD.replace("DockerProvider()", "DockerProvider(transport='stdio')")
    async with await anyio.open_process([sys.executable, "-c", code, "killed", "wait"]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert (await process.stdout.receive()).startswith(b"tmpfs")
        except anyio.EndOfStream:
            pytest.fail((await process.stderr.receive()).decode())
        assert await left("killed")
        process.send_signal(signal.SIGKILL)
    with anyio.fail_after(10):
        while await left("killed"):
            await anyio.lowlevel.checkpoint()


async def test_packages_of_this_machine_are_refused_with_the_reason(docker_image: None) -> None:
    provider = DockerProvider(transport="stdio", packages=Packages(["six"], allowed=["six"]))
    async with provider:
        with pytest.raises(SandboxUnavailable, match="use an image"):
            await provider.open()
