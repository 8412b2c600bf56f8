"""Sessions in Docker: every session a forked process in a hardened container without network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from corral.sandbox import folder as folders
from corral.sandbox import owner
from corral.sandbox.container import Container
from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxGone, SandboxUnavailable
from corral.sandbox.flags import Settings
from corral.sandbox.image import IMAGE
from corral.sandbox.sandbox import Limits, SandboxSpec
from corral.sandbox.session import DockerSandbox

__all__ = ["DockerProvider", "sweep"]


class DockerProvider:
    """Opens sessions as forks in one container, which the first `open` starts; different limits get one each.

    On asyncio only. Sessions of one container share its memory, processors and disk; nothing else.

    Args:
        image: A tag that the engine has; `corral sandbox build` makes the default one.
        may_lack: "landlock" or "seccomp", where the engine's kernel has none: sessions are then opened without it
            instead of being refused.
        runtime: An engine's runtime by name, "runsc" for gVisor (not tested).
    """

    def __init__(self, *, image: str = IMAGE, may_lack: Iterable[str] = (), runtime: str | None = None) -> None:
        self._settings = Settings(image, frozenset(may_lack), runtime)
        self._engine: Engine | None = None
        self._containers: dict[Limits, Container] = {}
        self._starting = anyio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        return "docker"

    @property
    def instructions(self) -> str:
        return (
            "Code runs as CPython on Linux, in a session that keeps its names and files from cell to cell. "
            "There is no network; only the standard library is installed, and only the working folder can be written. "
            "The last expression's value comes back as in a notebook, and `await` works at top level."
        )

    async def open(self, spec: SandboxSpec | None = None) -> DockerSandbox:
        spec = spec or SandboxSpec()
        async with self._starting:
            container = await self._container(spec)
        try:
            worker = await container.fork()
        except SandboxGone as error:
            raise SandboxUnavailable(f"no session could be started: {error}") from error
        return DockerSandbox(container, worker, spec)

    async def _container(self, spec: SandboxSpec) -> Container:
        if self._closed:
            raise SandboxUnavailable("the provider is closed")
        container = self._containers.get(spec.limits)
        if container is not None and container.lost:
            del self._containers[spec.limits]
            await container.close()
            container = None
        if container is None:
            engine = await self._connect()
            container = await Container.start(engine, self._settings, spec.limits, spec.label)
            if self._closed:  # while it started
                await container.close()
                raise SandboxUnavailable("the provider is closed")
            self._containers[spec.limits] = container
        return container

    async def _connect(self) -> Engine:
        if self._engine is None:
            if sys.platform != "linux":
                raise SandboxUnavailable("Docker sandboxes need an engine on the same Linux; use Monty here")
            engine = await to_thread.run_sync(Engine.connect)
            try:
                await to_thread.run_sync(_sweep, engine)
                await to_thread.run_sync(_check_image, engine, self._settings.image)
            except BaseException:
                engine.close()
                raise
            self._engine = engine
        return self._engine

    async def close(self) -> None:
        self._closed = True
        containers, self._containers = list(self._containers.values()), {}
        with anyio.CancelScope(shield=True):  # each close has its own deadline
            async with anyio.create_task_group() as closing:
                for container in containers:
                    closing.start_soon(container.close)
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


async def sweep() -> list[str]:
    """Remove the containers whose owner has died, and their folders; returns their ids.

    Raises:
        SandboxUnavailable: No engine answers.
    """

    def run() -> list[str]:
        engine = Engine.connect()
        try:
            return _sweep(engine)
        finally:
            engine.close()

    return await to_thread.run_sync(run)


def _sweep(engine: Engine) -> list[str]:
    removed: list[str] = []
    for found in engine.containers():
        if not owner.is_dead(found.labels):
            continue
        with contextlib.suppress(SandboxUnavailable):  # another sweep may be at it; the next one tries again
            engine.remove(found.id)
            removed.append(found.id)
    folders.sweep()
    return removed


def _check_image(engine: Engine, image: str) -> None:
    if not engine.has_image(image):
        raise SandboxUnavailable(f"the engine has no image {image}; `corral sandbox build` makes it")
