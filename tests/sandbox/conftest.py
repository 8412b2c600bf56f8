from collections.abc import AsyncGenerator

import pytest

from corral.sandbox import DockerProvider, MontyProvider, Sandbox, SandboxProvider


@pytest.fixture(scope="session")
async def docker(docker_image: None) -> AsyncGenerator[DockerProvider]:
    """One provider for all tests: what a test does to a session must not reach the next one."""
    async with DockerProvider() as provider:
        yield provider


@pytest.fixture(scope="session")
async def monty() -> AsyncGenerator[MontyProvider]:
    async with MontyProvider() as provider:
        yield provider


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "monty"])
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
