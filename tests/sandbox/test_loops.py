"""One provider in several event loops: one `asyncio.run` after another, and loops that run at the same time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from corral.sandbox import DockerProvider, LinuxProvider, MontyProvider, SandboxProvider, SandboxUnavailable

from .conftest import linux_provider


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "linux", "monty"])
def provider(request: pytest.FixtureRequest) -> SandboxProvider:
    if request.param == "docker":
        request.getfixturevalue("docker_image")
        return DockerProvider()
    if request.param == "linux":
        asyncio.run(works())
        return LinuxProvider()
    return MontyProvider()


async def works() -> None:
    await (await linux_provider(None)).close()


async def answer(provider: SandboxProvider) -> object:
    async with await provider.open() as sandbox:
        return (await sandbox.execute("40 + 2", timeout=10)).value


def test_a_provider_serves_one_loop_after_another(provider: SandboxProvider) -> None:
    started = time.monotonic()
    assert [asyncio.run(answer(provider)) for _ in range(3)] == [42, 42, 42]
    assert time.monotonic() - started < 9  # no deadline of a connection that nobody reads was waited for
    asyncio.run(provider.close())
    with pytest.raises(SandboxUnavailable, match="closed"):
        asyncio.run(answer(provider))


def test_a_provider_is_closed_from_another_loop_than_runs_it(provider: SandboxProvider) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        assert asyncio.run_coroutine_threadsafe(answer(provider), loop).result(20) == 42
        assert asyncio.run(answer(provider)) == 42
        asyncio.run(asyncio.wait_for(provider.close(), 20))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
