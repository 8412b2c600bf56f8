"""Containers in use and containers in waiting, and the sessions that are ready in them."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from corral.sandbox.cell import RunningCell
from corral.sandbox.container import Container
from corral.sandbox.errors import SandboxError, SandboxGone, SandboxUnavailable
from corral.sandbox.network import Network
from corral.sandbox.sandbox import Host, Limits, SandboxSpec
from corral.sandbox.worker import Worker

__all__ = ["Place", "Pool", "Sizes"]


REHEARSALS = ("print(1 + 1)\n1 + 1", "1 + 1", "print(1 + 1)\n1 + 1", "print(1 + 1)")
REHEARSAL_TIMEOUT = 5.0
"""Seconds for one of them."""

BREATH = 0.02
"""Seconds that a session just taken has the processors for its first cell, before the next one is forked."""


@dataclass(frozen=True)
class Sizes:
    """How much is kept in waiting.

    Attributes:
        ready: Sessions forked ahead in each container that is used.
        warm: Containers started ahead, for keys of trust that have none yet.
        sessions: What one container holds before another is started; no session ever waits for one to end.
    """

    ready: int = 1
    warm: int = 0
    sessions: int = 16


class Place:
    """A container that sessions are opened in.

    Args:
        left: Called when a session has ended.
    """

    def __init__(self, container: Container, ready: int, left: Callable[[Place], Awaitable[None]]) -> None:
        self.container = container
        self.sessions = 0
        self._left = left
        self._wanted = ready
        self._ready: deque[Worker] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._taken = 0.0
        """When a session was last taken, by the event loop's clock."""

    async def checkout(self) -> Worker:
        """A session with no names: one that is ready, else a new one; more are made ready behind it.

        Raises:
            SandboxUnavailable: It could not be started.
            SandboxGone: The container has ended.
        """
        worker = None
        while self._ready and worker is None:
            first = self._ready.pop()  # the last to have run: the most of it is still in the processors' caches
            if first.dead is None:
                worker = first
            else:
                await self.container.discard(first)
        if worker is None:
            worker = await self.container.fork()
        else:
            worker.channel.expect_first()
        self._taken = asyncio.get_running_loop().time()
        self.fill()
        return worker

    def fill(self) -> None:
        """Make sessions ready, while others work."""
        if len(self._ready) < self._wanted and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        await asyncio.sleep(BREATH)
        try:
            while len(self._ready) < self._wanted and not self.container.lost:
                await self._breathe()
                worker = await self.container.fork()
                # After a fork the first write to each page copies it, and a cell writes to hundreds: better now.
                for cell in REHEARSALS:
                    await RunningCell(worker, Host(), REHEARSAL_TIMEOUT, rehearsal=True).run(cell, {})
                self._ready.append(worker)
        except SandboxError:
            pass  # whoever needs a session will see why there is none

    async def _breathe(self) -> None:
        """Wait while sessions are being taken, as long as there are any."""
        loop = asyncio.get_running_loop()
        while self._ready and loop.time() < self._taken + BREATH:  # noqa: ASYNC110 - no event says that none was taken
            await asyncio.sleep(BREATH)

    async def open_network(self, network: Network) -> None:
        """Give the sessions opened from now on a way out; those made ready have none, and end."""
        self._wanted = 0
        await self._stop_filling()
        while self._ready:
            await self.container.discard(self._ready.popleft())
        await self.container.open_network(network)

    async def leave(self) -> None:
        self.sessions -= 1
        await self._left(self)

    async def close(self) -> None:
        await self._stop_filling()
        await self.container.close()

    async def _stop_filling(self) -> None:
        if self._filling is not None and not self._filling.done():
            self._filling.cancel()
            await asyncio.wait([self._filling])


class Pool:
    """Finds a container for a session, starting one if there is none with room.

    Args:
        start: Starts a container with limits and a label.
    """

    def __init__(self, start: Callable[[Limits, str], Awaitable[Container]], sizes: Sizes) -> None:
        self._start = start
        self._sizes = sizes
        self._places: dict[tuple[Limits, str], list[Place]] = {}
        self._warm: dict[Limits, list[Place]] = {}
        self._warming: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._closed = False

    async def enter(self, spec: SandboxSpec) -> tuple[Place, Worker]:
        """A session and its place, to be left when it has ended. With a network it is the only one there.

        Raises:
            SandboxUnavailable: None can be had.
        """
        full: set[Place] = set()
        if spec.network is not None:
            spec = replace(spec, trust=secrets.token_hex(8))
        while True:
            async with self._starting:
                place = await self._place(spec, full)
                place.sessions += 1
            try:
                if spec.network is not None:
                    await place.open_network(spec.network)
                return place, await place.checkout()
            except BaseException as error:
                await place.leave()
                if isinstance(error, SandboxGone):
                    raise SandboxUnavailable(f"no session could be started: {error}") from error
                # Its other sessions may have used it up; in a container of its own there is no such excuse.
                if not (isinstance(error, SandboxUnavailable) and place.sessions and len(full) < 1):
                    raise
                full.add(place)

    async def _place(self, spec: SandboxSpec, full: set[Place]) -> Place:
        self._check_open()
        places = self._places.setdefault((spec.limits, spec.trust), [])
        for place in list(places):
            if place.container.lost:
                places.remove(place)
                await place.close()
        for place in places:
            if place.sessions < self._sizes.sessions and place not in full:
                return place
        place = self._take_warm(spec.limits) or await self._new_place(spec.limits, spec.label)
        places.append(place)
        self._keep_warm(spec.limits)
        return place

    async def _new_place(self, limits: Limits, label: str) -> Place:
        container = await self._start(limits, label)
        if self._closed:  # while it started
            await container.close()
        self._check_open()
        return Place(container, self._sizes.ready, self._leave)

    def _take_warm(self, limits: Limits) -> Place | None:
        while warm := self._warm.get(limits):
            place = warm.pop()
            if not place.container.lost:
                return place
        return None

    def _keep_warm(self, limits: Limits) -> None:
        if self._sizes.warm and not self._warming:
            task = asyncio.get_running_loop().create_task(self._warm_up(limits))
            self._warming.add(task)
            task.add_done_callback(self._warming.discard)

    async def _warm_up(self, limits: Limits) -> None:
        warm = self._warm.setdefault(limits, [])
        try:
            while len(warm) < self._sizes.warm:
                place = await self._new_place(limits, "warm")
                warm.append(place)
                place.fill()
        except SandboxError:
            pass  # whoever needs a container will see why there is none

    async def _leave(self, place: Place) -> None:
        """End a container that nothing runs in, unless it is the one that shared sessions come back to."""
        if place.sessions:
            return
        for (_, trust), places in self._places.items():
            if place in places and (trust or len(places) > 1):
                places.remove(place)
                await place.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxUnavailable("the provider is closed")

    async def close(self) -> None:
        self._closed = True
        for task in list(self._warming):
            task.cancel()
            await asyncio.wait([task])
        kept = [place for places in (*self._places.values(), *self._warm.values()) for place in places]
        self._places.clear()
        self._warm.clear()
        async with anyio.create_task_group() as closing:  # each close has its own deadline
            for place in kept:
                closing.start_soon(place.close)
