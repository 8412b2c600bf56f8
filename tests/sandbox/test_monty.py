"""What only Monty sessions do, or cannot do."""

from collections.abc import AsyncGenerator

import pytest

from corral.sandbox import CellErrorKind, Limits, MontyProvider, Sandbox, SandboxFileError, SandboxSpec


@pytest.fixture
async def sandbox(monty: MontyProvider) -> AsyncGenerator[Sandbox]:
    async with await monty.open() as session:
        yield session


async def test_files_are_refused_with_a_word_on_what_has_them(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFileError, match="Docker"):
        await sandbox.put("a", b"")
    with pytest.raises(SandboxFileError, match="Docker"):
        await sandbox.get("a")


async def test_the_machines_files_are_not_there(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("open('/etc/passwd').read()", timeout=5)
    assert execution.error is not None
    assert "PermissionError" in execution.error.message


async def test_memory_is_bounded(monty: MontyProvider) -> None:
    async with await monty.open(SandboxSpec(Limits(memory_bytes=20_000_000))) as sandbox:
        execution = await sandbox.execute("'x' * 100_000_000", timeout=5)
        assert execution.error is not None
        assert "MemoryError" in execution.error.message
        assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_cell_past_its_time_is_rolled_back(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    execution = await sandbox.execute("x = 2\nwhile True:\n    pass", timeout=0.1)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_a_provider_that_is_closed_ends_its_sessions() -> None:
    async with MontyProvider() as provider:
        await provider.open()
        await provider.open()
