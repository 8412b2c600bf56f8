"""A memory in a folder of its own, and a gate that lets everything happen."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from corral.memory import Memory, Receipt, Recollection, Scope, Turn
from corral.policy import Admission, Gate, Label, Policy, SecurityPolicy

T = TypeVar("T")

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


class Held:
    """A memory whose every effect passes a gate, as an agent's does."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.gate = Gate(EVERYTHING)

    async def admitted(
        self, verb: Any, scope: Scope, effect: Callable[[Admission], Awaitable[T]], layer: Any = "episodic"
    ) -> T:
        return await self.gate.perform(Memory.action(verb, scope, layer=layer), effect)

    async def remember(self, scope: Scope, *turns: Turn | str, **options: Any) -> Receipt:
        said = [Turn("user", turn, Label.user()) if isinstance(turn, str) else turn for turn in turns]
        return await self.admitted(
            "write", scope, lambda admission: self.memory.remember(said, scope, admission=admission, **options)
        )

    async def recall(self, query: str, scope: Scope, **options: Any) -> list[Recollection]:
        return await self.admitted(
            "read", scope, lambda admission: self.memory.recall(query, scope, admission=admission, **options)
        )

    async def texts(self, query: str, scope: Scope, **options: Any) -> list[str]:
        return [one.text for one in await self.recall(query, scope, **options)]

    async def learn(self, text: str, scope: Scope, label: Label | None = None, **options: Any) -> Receipt:
        return await self.admitted(
            "write",
            scope,
            lambda admission: self.memory.learn(
                text, scope, label=label or Label.user(), admission=admission, **options
            ),
            "long",
        )

    async def forget(self, subject: str | None, scope: Scope, **options: Any) -> Receipt:
        return await self.admitted(
            "delete", scope, lambda admission: self.memory.forget(subject, scope, admission=admission, **options)
        )

    async def export(self, scope: Scope) -> list[dict[str, Any]]:
        async def lines(admission: Admission) -> list[dict[str, Any]]:
            return [line async for line in self.memory.export(scope, admission=admission)]

        return await self.admitted("read", scope, lines)

    async def import_(self, lines: Sequence[Any], scope: Scope, **options: Any) -> Receipt:
        return await self.admitted(
            "write", scope, lambda admission: self.memory.import_(lines, scope, admission=admission, **options)
        )


def files_with(text: bytes, folder: Path) -> list[Path]:
    """The files below `folder` that have `text` in them."""
    return [file for file in folder.rglob("*") if file.is_file() and text in file.read_bytes()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def held(folder: Path) -> AsyncGenerator[Held]:
    async with Memory(folder) as memory:
        yield Held(memory)


@pytest.fixture
def scope() -> Scope:
    return Scope("ada", "main", "monday")
