"""What processes leave on an engine, and who removes it."""

import os
import signal
import subprocess
import sys
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio import to_thread

from corral.sandbox import (
    IMAGE,
    DockerProvider,
    Sandbox,
    prune,
    running,
    sweep,
)
from corral.sandbox.engine import Engine

from .conftest import containers

pytestmark = pytest.mark.docker


@pytest.fixture
async def sandbox(container_session: Sandbox) -> Sandbox:
    return container_session


OWNER = """
import sys, time
from pathlib import Path
from corral.sandbox.flags import Settings, container_config, host_config
from corral.sandbox.engine import Engine
from corral.sandbox.image import IMAGE
from corral.sandbox.sandbox import Limits

settings = Settings(IMAGE)
config = container_config(settings, sys.argv[1], "token")
print(Engine.connect().create(config, host_config(settings, Limits(), Path(sys.argv[2]))), flush=True)
time.sleep(60)
"""


async def test_sweep_removes_what_a_killed_process_left_and_nothing_else(
    engine: Engine, sandbox: Sandbox, tmp_path: Any
) -> None:
    # A container that was created and never started: one that runs ends by itself when its owner does.
    command = [sys.executable, "-c", OWNER, f"test-sweep-{os.getpid()}", str(tmp_path)]
    async with await anyio.open_process(command, stdout=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        with anyio.fail_after(10):
            left = (await process.stdout.receive()).decode().strip()
            assert left not in await sweep()
            process.send_signal(signal.SIGKILL)
            await process.wait()
            assert left in await sweep()
    assert await containers(engine, f"test-sweep-{os.getpid()}") == []
    assert (await sandbox.execute("1", timeout=5)).value == 1


LIVING = """
import sys, time, anyio
from corral.sandbox import DockerProvider, SandboxSpec

async def main():
    provider = DockerProvider()
    sandbox = await provider.open(SandboxSpec(label=sys.argv[1]))
    print(sandbox._container._folder, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


async def test_what_runs_is_listed_with_its_owner(docker: DockerProvider, sandbox: Sandbox) -> None:
    row = next(each for each in await running() if each.id == sandbox.id.partition(".")[0])
    assert (row.owner_pid, row.orphan) == (os.getpid(), False)
    assert row.image == IMAGE
    assert row.status.startswith("Up")


async def test_pruning_takes_images_of_earlier_versions_and_nothing_in_use(engine: Engine, sandbox: Sandbox) -> None:
    old = "corral-sandbox:0-test"
    await to_thread.run_sync(lambda: engine._api.tag(IMAGE, "corral-sandbox", "0-test"))  # pyright: ignore[reportPrivateUsage]
    pruned = await prune()
    assert pruned.images == (old,)
    assert await to_thread.run_sync(engine.has_image, IMAGE)
    assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_running_container_ends_with_its_killed_owner_and_its_folder_is_swept(engine: Engine) -> None:
    command = [sys.executable, "-c", LIVING, f"test-owner-{os.getpid()}"]
    async with await anyio.open_process(command, stdout=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        with anyio.fail_after(20):
            folder = (await process.stdout.receive()).decode().strip()
            assert await anyio.Path(folder).exists()
            process.send_signal(signal.SIGKILL)
            await process.wait()
            while await containers(engine, f"test-owner-{os.getpid()}"):
                await anyio.lowlevel.checkpoint()
    with anyio.fail_after(5):
        await sweep()
    assert not await anyio.Path(folder).exists()
