"""Which sandbox is taken when nobody says which."""

import shutil

import pytest

from corral.sandbox import AutoProvider, DockerProvider, LinuxProvider, MontyProvider, SandboxUnavailable, choose


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.mark.docker
async def test_docker_is_taken_where_it_works(docker_image: None) -> None:
    choice = await choose()
    async with choice.provider:
        assert isinstance(choice.provider, DockerProvider)
        assert "Docker" in choice.reason


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_bubblewrap_is_taken_without_an_engine(no_engine: None) -> None:
    choice = await choose()
    async with choice.provider:
        assert isinstance(choice.provider, LinuxProvider)
        assert "no Docker engine answers" in choice.reason


async def test_monty_is_taken_without_an_engine_and_bubblewrap_and_says_why(
    no_engine: None, no_bubblewrap: None
) -> None:
    choice = await choose()
    async with choice.provider:
        assert isinstance(choice.provider, MontyProvider)
        assert "no Docker engine answers at /nonexistent/docker.sock" in choice.reason


async def test_the_choice_is_made_when_a_session_is_opened(no_engine: None, no_bubblewrap: None) -> None:
    async with AutoProvider() as provider:
        assert (provider.name, provider.reason) == ("auto", "")
        async with await provider.open() as sandbox:
            assert (await sandbox.execute("1 + 1", timeout=5)).value == 2
        assert provider.name == "monty"
        assert provider.instructions == MontyProvider().instructions


async def test_without_any_sandbox_nothing_runs(
    no_engine: None, no_bubblewrap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONTY_BIN", "/nonexistent/monty")
    async with AutoProvider() as provider:
        with pytest.raises(SandboxUnavailable, match=r"Docker.*Monty"):
            await provider.open()


async def test_a_closed_provider_opens_nothing() -> None:
    provider = AutoProvider()
    await provider.close()
    with pytest.raises(SandboxUnavailable):
        await provider.open()
