"""Steps of a run below another: those of the run above, under a name of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from corral.agents.steps import Codec, Effect, Steps

__all__ = ["NestedSteps"]

T = TypeVar("T")


class NestedSteps:
    """The steps of `run_id`, kept by whoever keeps those of the run that it works for."""

    def __init__(self, above: Steps, run_id: str) -> None:
        self._above = above
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        return self._run_id

    async def call(self, name: str, fn: Callable[[], Awaitable[T]], *, codec: Codec[T], effect: Effect) -> T:
        return await self._above.call(self._name(name), fn, codec=codec, effect=effect)

    def recorded(self, name: str) -> Any | None:
        return self._above.recorded(self._name(name))

    async def record(self, name: str, data: Any) -> None:
        await self._above.record(self._name(name), data)

    async def ask(self, topic: str, question: Any, *, timeout: float | None) -> Any | None:
        return await self._above.ask(self._name(topic), question, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        await self._above.sleep(seconds)

    def _name(self, name: str) -> str:
        return f"{self._run_id[:12]}/{name}"
