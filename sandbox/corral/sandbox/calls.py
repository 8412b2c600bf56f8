"""Calls that a running cell makes: each awaited through the host's function, none believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import cast

import anyio

from corral.sandbox.sandbox import Host, Json
from corral.sandbox.worker import Worker

__all__ = ["Calls"]

AT_ONCE = 64
IN_A_ROW = 16
"""Calls that are answered before the event loop has its turn, when each comes as soon as the last was answered."""

Args = list[Json]
Kwargs = dict[str, Json]


class Calls:
    """Answers a cell's calls.

    Args:
        idle: Called when the last one has been answered.
    """

    def __init__(self, worker: Worker, host: Host, idle: Callable[[], None]) -> None:
        self._worker = worker
        self._host = host
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        # Tools run in what the caller of `execute` has set, not in what the event loop's reader has.
        self._context = copy_context()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lingering: asyncio.Task[None] | None = None
        """A task that has answered its call, while it takes the next one if that comes at once."""
        self._next: tuple[str, str, Args, Kwargs] | None = None

    def __bool__(self) -> bool:
        """Whether any is in flight."""
        return bool(self._tasks)

    def receive(self, message: dict[str, Json]) -> bool:
        """Begin what a frame asks for; False if it asks for nothing that can be."""
        match message:
            case {"call": str(call), "name": str(name), "kwargs": dict()} if (
                len(call) <= 64 and call not in self._tasks
            ):
                kwargs = cast("Kwargs", message["kwargs"])
            case _:
                return False
        match message:
            case {"op": "call", "args": list()} if self._lingering is not None and not self._tasks:
                self._next = call, name, cast("Args", message["args"]), kwargs
                self._tasks[call] = self._lingering
                return True
            case {"op": "call", "args": list()}:
                work = self._serve(call, name, cast("Args", message["args"]), kwargs)
            case {"op": "map", "items": list()} if _are_lists(cast("list[Json]", message["items"])):
                work = self._serve_map(call, name, cast("list[Args]", message["items"]), kwargs)
            case _:
                return False
        if len(self._tasks) >= AT_ONCE:
            work.close()
            self._answer(call, {"error": f"more than {AT_ONCE} calls at once"})
        else:
            self._tasks[call] = self._loop.create_task(work, context=self._context.copy())
        return True

    def cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def end(self) -> None:
        """Cancel what is in flight and wait for it."""
        tasks = list(self._tasks.values())
        for call, task in list(self._tasks.items()):
            # Said here and not by the task, which may not have begun: a thread of the guest's may still wait for it.
            self._answer(call, {"error": "the cell that called has ended"})
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks)

    async def _serve(self, call: str, name: str, args: Args, kwargs: Kwargs) -> None:
        """Answer a call, and those that follow it closely: each through the event loop would take twice as long."""
        this = asyncio.current_task()
        for left in range(IN_A_ROW - 1, -1, -1):
            try:
                answer = await self._call(name, args, kwargs)
                self._answer(call, answer)
            finally:
                self._ended(call)
            following = self._linger(this if left else None)
            if following is None:
                return
            call, name, args, kwargs = following

    def _linger(self, task: asyncio.Task[None] | None) -> tuple[str, str, Args, Kwargs] | None:
        """The next call if it comes at once, for `task` to answer; others begin tasks of their own."""
        self._lingering = task
        try:
            self._worker.channel.linger()
        finally:
            self._lingering = None
        following, self._next = self._next, None
        return following

    async def _serve_map(self, call: str, name: str, items: list[Args], kwargs: Kwargs) -> None:
        """Make one call for each item, as many at once as there is room for; answer with all results, or an error."""
        answers: list[dict[str, Json]] = [{}] * len(items)
        numbers = iter(range(len(items)))

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                answers[number] = await self._call(name, items[number], dict(kwargs))

        try:
            async with asyncio.TaskGroup() as working:
                for _ in range(min(AT_ONCE, len(items))):
                    working.create_task(work(numbers))
            failed = next((answer for answer in answers if "error" in answer), None)
            self._answer(call, failed or {"values": [answer["value"] for answer in answers]})
        finally:
            self._ended(call)

    async def _call(self, name: str, args: Args, kwargs: Kwargs) -> dict[str, Json]:
        if name not in self._host.tools or self._host.call is None:
            return {"error": f"there is no tool {name!r} here"}
        try:
            return {"value": await self._host.call(name, args, kwargs)}
        except Exception as error:  # noqa: BLE001 - the tool's own code failed: the cell gets to see how
            return {"error": str(error) or type(error).__name__}

    def _answer(self, call: str, answer: dict[str, Json]) -> None:
        try:
            self._worker.channel.send({"op": "answer", "call": call, **answer})
        except (TypeError, ValueError, RecursionError) as problem:
            error = f"the result is not JSON: {problem}"
            self._worker.channel.send({"op": "answer", "call": call, "error": error})

    def _ended(self, call: str) -> None:
        self._tasks.pop(call, None)
        if not self._tasks:
            self._idle()


def _are_lists(items: list[Json]) -> bool:
    return all(isinstance(item, list) for item in items)
