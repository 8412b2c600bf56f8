import contextlib
import os
from collections.abc import AsyncGenerator

import pytest
from anyio import to_thread

from corral.sandbox import (
    DockerProvider,
    LinuxProvider,
    MontyProvider,
    Sandbox,
    SandboxProvider,
    SandboxUnavailable,
)
from corral.sandbox.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def image_first(request: pytest.FixtureRequest) -> None:
    """`docker_image` runs an event loop of its own, which has to be over before any fixture here has one."""
    with contextlib.suppress(pytest.skip.Exception):
        request.getfixturevalue("docker_image")


@pytest.fixture(scope="session")
async def docker(docker_image: None) -> AsyncGenerator[DockerProvider]:
    """One provider for all tests: what a test does to a session must not reach the next one."""
    async with DockerProvider() as provider:
        yield provider


@pytest.fixture
async def engine(docker_image: None) -> AsyncGenerator[Engine]:
    engine = await to_thread.run_sync(Engine.connect)
    yield engine
    engine.close()


async def containers(engine: Engine, label: str) -> list[str]:
    found = await to_thread.run_sync(engine.containers)
    return [each.id for each in found if each.labels.get("corral.label") == label]


@pytest.fixture(scope="session")
async def monty() -> AsyncGenerator[MontyProvider]:
    async with MontyProvider() as provider:
        yield provider


async def linux_provider(bubblewrap: str | None) -> LinuxProvider:
    """Skips where it does not work (another system, no bubblewrap, a kernel before 6.12), but fails in CI."""
    provider = LinuxProvider(bubblewrap=bubblewrap)
    try:
        if bubblewrap is None and not provider.has_bubblewrap:
            raise SandboxUnavailable("bubblewrap is not installed")
        await (await provider.open()).close()
    except SandboxUnavailable as error:
        await provider.close()
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return provider


@pytest.fixture(scope="session")
async def linux() -> AsyncGenerator[LinuxProvider]:
    """Under bubblewrap."""
    async with await linux_provider(None) as provider:
        yield provider


@pytest.fixture(scope="session")
async def bare_linux() -> AsyncGenerator[LinuxProvider]:
    """Held by Landlock, seccomp and rlimits alone."""
    async with await linux_provider("") as provider:
        yield provider


@pytest.fixture(scope="session")
async def attached(docker_image: None) -> AsyncGenerator[DockerProvider]:
    """As with an engine that does not share this machine's file system."""
    async with DockerProvider(transport="stdio") as provider:
        yield provider


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("attached", marks=pytest.mark.docker),
        "linux",
        "bare_linux",
        "monty",
    ]
)
def provider(request: pytest.FixtureRequest) -> SandboxProvider:
    return request.getfixturevalue(request.param)


@pytest.fixture
async def sandbox(provider: SandboxProvider) -> AsyncGenerator[Sandbox]:
    async with await provider.open() as session:
        yield session


@pytest.fixture
async def container_session(docker: DockerProvider) -> AsyncGenerator[Sandbox]:
    async with await docker.open() as session:
        yield session


@pytest.fixture(scope="session")
async def forgetful(docker_image: None) -> AsyncGenerator[DockerProvider]:
    """Sessions without checkpoints: a crash costs them everything."""
    async with DockerProvider(checkpoints=False) as provider:
        yield provider


@pytest.fixture
async def forgetful_session(forgetful: DockerProvider) -> AsyncGenerator[Sandbox]:
    async with await forgetful.open() as session:
        yield session
