"""What every suite may use: one event loop library, and the Docker image of the sandbox."""

import os

import anyio
import pytest

from corral.sandbox import SandboxUnavailable, build, image_exists


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def docker_image() -> None:
    """Makes sure that Docker sandboxes open: builds a missing image, and skips without an engine (fails in CI)."""

    async def ensure() -> None:
        if not await image_exists():
            await build(lambda line: None)

    try:
        anyio.run(ensure)
    except SandboxUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
