"""Steps: the seam between a run and whatever makes it durable.

Everything a run does that is not pure (a model call, a tool call, an approval, a wait) is one named step. Inline, a
step is just awaited; a durable executor stores each result and, after a crash, hands the stored one back.

A step's name says where it stands: "model/3", "tool/3/0" (the first call of step 3), and, for what the code of a cell
calls, "cell/2/4f1c…/0" (by what is called, not by when: threads of a cell call in any order). A cell is a scope and no
step: it runs again against its recorded calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import TypeAdapter

__all__ = ["AT_STEP", "Codec", "Effect", "InlineSteps", "Steps", "json_codec"]

T = TypeVar("T")

Effect = Literal["read", "idempotent", "once"]
"""Whether a step whose result was lost may be run again: "once" must not."""

AT_STEP: ContextVar[str] = ContextVar("AT_STEP", default="")
"""The step that is on its way through the gate: a person's answer is kept for that one only."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How a step's result becomes JSON and comes back; used only where results are stored."""

    dump: Callable[[T], Any]
    load: Callable[[Any], T]


def json_codec(kind: Any) -> Codec[Any]:
    """The codec of a type that pydantic can turn into JSON and back; made when it is first used."""

    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(kind)

    return Codec(lambda value: adapter().dump_python(value, mode="json"), lambda data: adapter().validate_python(data))


class Steps(Protocol):
    """Runs named steps. Names are unique within a run and the same when the run is run again."""

    @property
    def run_id(self) -> str: ...

    async def call(self, name: str, fn: Callable[[], Awaitable[T]], *, codec: Codec[T], effect: Effect) -> T:
        """Run `fn` as the step `name`, or return what it returned before."""
        ...

    def recorded(self, name: str) -> Any | None:
        """What is stored of the step `name`, as JSON; None if it is still to be run. It passed the gate then.

        Raises:
            UnknownOutcome: It must not run twice, and was begun without an end.
        """
        ...

    async def record(self, name: str, data: Any) -> None:
        """Store what the step `name` came to although nothing ran, such as a refusal; `data` is JSON and not None."""
        ...

    async def ask(self, topic: str, question: Any, *, timeout: float | None) -> Any | None:
        """Wait for someone to answer `question`; None when nobody did in time."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class InlineSteps:
    """Steps that are just awaited: nothing is stored, nothing survives the process."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._questions: dict[str, asyncio.Future[Any]] = {}

    @property
    def run_id(self) -> str:
        return self._run_id

    async def call(self, name: str, fn: Callable[[], Awaitable[T]], *, codec: Codec[T], effect: Effect) -> T:
        return await fn()

    def recorded(self, name: str) -> Any | None:
        return None

    async def record(self, name: str, data: Any) -> None:
        return None

    async def ask(self, topic: str, question: Any, *, timeout: float | None) -> Any | None:
        answered = self._questions.setdefault(topic, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(answered), timeout)
        except TimeoutError:
            return None

    def answer(self, topic: str, value: Any) -> None:
        """Answer the question on `topic`; the first answer stands."""
        answered = self._questions.setdefault(topic, asyncio.get_running_loop().create_future())
        if not answered.done():
            answered.set_result(value)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
