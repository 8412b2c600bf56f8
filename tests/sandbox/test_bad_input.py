"""What goes wrong: the result or the error that it is documented to be, and no harm to the session beside it."""

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from corral.sandbox import (
    CellErrorKind,
    DockerProvider,
    Limits,
    Sandbox,
    SandboxFileError,
    SandboxGone,
    SandboxProtocolError,
    SandboxSpec,
    SandboxUnavailable,
    Sizes,
)
from corral.sandbox.engine import Engine

from .engine_relay import EngineRelay

pytestmark = pytest.mark.docker

SMALL = Limits(memory_bytes=96 * 1024**2, disk_bytes=4 * 1024**2)

WRITE_TO_SOCKETS = """
import os, stat
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            os.write(int(name), b"garbage" * 1000)
    except OSError:
        pass
"""


@pytest.fixture(params=["docker", "attached"])
def provider(request: pytest.FixtureRequest) -> DockerProvider:
    """By socket and by stdin."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def pair(provider: DockerProvider) -> AsyncGenerator[tuple[Sandbox, Sandbox]]:
    """A session that suffers and one beside it, in one container; the latter has a name and a file to lose."""
    spec = SandboxSpec(SMALL)
    async with await provider.open(spec) as sandbox, await provider.open(spec) as beside:
        assert sandbox.id.partition(".")[0] == beside.id.partition(".")[0]
        await sandbox.execute("x = 1", timeout=5)
        await beside.execute("y = 2\nopen('kept', 'w').write('kept')", timeout=5)
        with anyio.fail_after(30):
            yield sandbox, beside
        assert (await beside.execute("[y, open('kept').read()]", timeout=5)).value == [2, "kept"]


Pair = tuple[Sandbox, Sandbox]


@pytest.mark.parametrize(
    "code", ["import os\nos.abort()", "import ctypes\nctypes.string_at(0)", "import os\nos._exit(0)"]
)
async def test_a_crash_rolls_the_session_back(pair: Pair, code: str) -> None:
    execution = await pair[0].execute(code, timeout=10)
    assert execution.error is not None
    assert (execution.error.kind, execution.state_kept) == (CellErrorKind.CRASH, True)
    assert (await pair[0].execute("x", timeout=5)).value == 1


async def test_memory_that_runs_out_rolls_the_session_back(pair: Pair) -> None:
    execution = await pair[0].execute("x = 2\nhoard = bytearray(b'x' * 200_000_000)", timeout=20)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.CRASH
    assert "out of memory" in execution.error.message
    assert (await pair[0].execute("x", timeout=5)).value == 1


async def test_time_that_runs_out_stops_the_cell(pair: Pair) -> None:
    execution = await pair[0].execute("x = 2\nwhile True:\n    pass", timeout=0.2)
    assert execution.error is not None
    assert (execution.error.kind, execution.state_kept) == (CellErrorKind.TIMEOUT, True)
    assert (await pair[0].execute("x", timeout=5)).value == 2


async def test_garbage_ends_the_session_that_sent_it(pair: Pair) -> None:
    with pytest.raises(SandboxProtocolError):
        await pair[0].execute(WRITE_TO_SOCKETS + "import time\ntime.sleep(30)", timeout=20)
    with pytest.raises(SandboxGone):
        await pair[0].execute("x", timeout=5)


async def test_endless_output_is_cut_and_stopped(pair: Pair) -> None:
    execution = await pair[0].execute("while True:\n    print('x' * 1000)", timeout=0.3)
    assert execution.error is not None
    assert (execution.error.kind, execution.truncated) == (CellErrorKind.TIMEOUT, True)
    assert len(execution.output) <= Limits().output_bytes + 100


async def test_a_full_disk_is_an_error_in_the_cell_and_for_files(pair: Pair) -> None:
    execution = await pair[0].execute("open('big', 'wb').write(b'x' * 20_000_000)", timeout=10)
    assert execution.error is not None
    assert "No space left" in execution.error.message
    with pytest.raises(SandboxFileError, match="No space left"):
        await pair[0].put("more", b"y" * 1_000_000)
    await pair[0].execute("import os\nos.remove('big')", timeout=5)
    await pair[0].put("more", b"y" * 1_000_000)


async def test_an_engine_that_goes_in_the_middle_takes_no_session_with_it(
    docker_image: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EngineRelay() as relay:
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", relay.address)
            provider = DockerProvider(sizes=Sizes(sessions=1))
            sandbox = await provider.open(SandboxSpec(label="engine-gone"))
            await relay.cut()
            with anyio.fail_after(20):
                assert (await sandbox.execute("6 * 7", timeout=5)).value == 42
                with pytest.raises(SandboxUnavailable, match="engine"):
                    await provider.open()
                await sandbox.close()
                await provider.close()
    engine = await to_thread.run_sync(Engine.connect)
    try:
        with anyio.fail_after(10):  # what the engine could not be asked to remove ends by itself
            while any(
                each.labels.get("corral.label") == "engine-gone" for each in await to_thread.run_sync(engine.containers)
            ):
                await anyio.lowlevel.checkpoint()
    finally:
        engine.close()


async def test_a_missing_image_is_said_with_what_to_do() -> None:
    async with DockerProvider(image="corral-sandbox:none") as provider:
        with pytest.raises(SandboxUnavailable, match="corral sandbox build"):
            await provider.open()


async def test_a_temporary_folder_too_deep_for_a_socket_works(
    docker_image: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    async with DockerProvider(transport="socket") as provider, await provider.open() as sandbox:
        assert (await sandbox.execute("1 + 1", timeout=5)).value == 2
    assert list(deep.iterdir()) == []
