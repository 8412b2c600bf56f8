"""The image, where nothing can make it."""

import pytest

from corral.sandbox import SandboxUnavailable, build, image_exists


async def test_without_an_engine_it_cannot_be_looked_for_or_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(SandboxUnavailable, match="no Docker engine"):
        await image_exists()
    with pytest.raises(SandboxUnavailable, match="no Docker engine"):
        await build(print)


@pytest.mark.docker
async def test_it_is_there_once_built(docker_image: None) -> None:
    assert await image_exists()
