"""Sessions in Docker: every session a forked process in a hardened container without network."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import anyio
from anyio import to_thread

from corral.sandbox.census import sweep_engine
from corral.sandbox.container import Container
from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxUnavailable
from corral.sandbox.flags import CHECKPOINT_BYTES, Settings, container_config, host_config
from corral.sandbox.housing import Terms
from corral.sandbox.image import IMAGE, image_name
from corral.sandbox.packages import Packages
from corral.sandbox.pool import Sizes
from corral.sandbox.pools import Pools
from corral.sandbox.sandbox import Limits, SandboxSpec
from corral.sandbox.session import DockerSandbox

__all__ = ["DockerProvider"]

RESERVED_PROCESSES = 4
"""Kept free of any one session, for the zygote and the relays."""

Transport = Literal["auto", "socket", "stdio"]


class DockerProvider:
    """Opens sessions as forks in containers, which the first `open` of a kind starts: one kind for each set of limits
    and each `SandboxSpec.trust`.

    On asyncio only. Sessions of one container share its memory, processors and disk; nothing else.

    Args:
        image: A tag that the engine has; `corral sandbox build` makes the default one.
        may_lack: "landlock" or "seccomp", where the engine's kernel has none: sessions are then opened without it
            instead of being refused.
        runtime: An engine's runtime by name, "runsc" for gVisor (not tested).
        gpus: How many the sessions of a container share, -1 is all; the engine needs the vendor's toolkit (not tested).
        checkpoints: Copy sessions after each cell, so that a crash costs one cell and not all names.
        packages: What sessions can import beside what the image has.
        sizes: What is kept in waiting, and how many sessions share a container.
        transport: How a container is reached: by a socket in a folder of this machine, or over its stdin and stdout,
            which is slower and needs no shared file system. "auto" takes the first that works.
    """

    def __init__(
        self,
        *,
        image: str = IMAGE,
        may_lack: Iterable[str] = (),
        runtime: str | None = None,
        gpus: int = 0,
        checkpoints: bool = True,
        packages: Packages | None = None,
        sizes: Sizes | None = None,
        transport: Transport = "auto",
    ) -> None:
        self._settings = Settings(
            image,
            frozenset(may_lack),
            runtime,
            CHECKPOINT_BYTES if checkpoints else 0,
            attached=transport == "stdio",
            gpus=gpus,
        )
        self._proven = transport != "auto"
        self._ignored: set[str] = set()
        self._packages = packages
        if packages is not None:
            packages.check()
        self._engine: Engine | None = None
        self._pools = Pools(self._start, sizes or Sizes())

    @property
    def name(self) -> str:
        return "docker"

    @property
    def ignored_limits(self) -> tuple[str, ...]:
        """Names of `Limits` that the engine was asked for and has not put in force in the containers so far."""
        return tuple(sorted(self._ignored))

    @property
    def opens_network(self) -> bool:
        return True

    @property
    def instructions(self) -> str:
        return (
            "Code runs as CPython on Linux, in a session that keeps its names and files from cell to cell. "
            f"There is no network; {self._installed()} installed, and only the working folder can be written. "
            "The last expression's value comes back as in a notebook, and `await` works at top level."
        )

    def _installed(self) -> str:
        extra = ["numpy, pandas and matplotlib"] if self._settings.image == image_name("data") else []
        extra += self._packages.requirements if self._packages else []
        return f"the standard library and {', '.join(extra)} are" if extra else "only the standard library is"

    async def open(self, spec: SandboxSpec | None = None) -> DockerSandbox:
        spec = spec or SandboxSpec()
        place, worker = await (await self._pools.here()).enter(spec)
        return DockerSandbox(place, worker, spec)

    async def _start(self, limits: Limits, label: str) -> Container:
        engine = await self._connect()
        if self._packages is not None and self._packages.requirements and self._settings.packages is None:
            self._settings = replace(self._settings, packages=await self._install(engine, self._packages))
        try:
            container = await self._start_container(engine, limits, label)
        except SandboxUnavailable:
            if self._proven or self._settings.packages is not None:
                raise
            container = await self._start_attached(engine, limits, label)
        self._proven = True
        self._ignored.update(container.ignored)
        return container

    async def _start_container(self, engine: Engine, limits: Limits, label: str) -> Container:
        return await Container.start(Engines(engine, self._settings), self._settings, limits, label)

    async def _start_attached(self, engine: Engine, limits: Limits, label: str) -> Container:
        """Try the other transport: the engine may see no folder of ours."""
        before = self._settings
        self._settings = replace(before, attached=True)
        try:
            return await self._start_container(engine, limits, label)
        except BaseException:
            self._settings = before
            raise

    async def _install(self, engine: Engine, packages: Packages) -> Path:
        # Which wheels fit is known by the image's interpreter alone.
        housing = Engines(engine, self._settings)
        if self._settings.attached:
            raise SandboxUnavailable(
                "packages are installed into a folder of this machine, which the engine does not see; "
                "use an image that has them"
            )
        container = await Container.start(housing, self._settings, Limits(), "python-version")
        await container.close()
        return await to_thread.run_sync(packages.install, container.python, container.machine)

    async def _connect(self) -> Engine:
        if self._engine is None:
            if sys.platform != "linux":
                raise SandboxUnavailable("Docker sandboxes need an engine on the same Linux; use Monty here")
            engine = await _reach()
            try:
                await to_thread.run_sync(sweep_engine, engine)
                await to_thread.run_sync(_check_image, engine, self._settings.image)
            except BaseException:
                engine.close()
                raise
            self._engine = engine
        return self._engine

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._pools.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


class Engines:
    """Zygotes in containers of an engine."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    @property
    def attached(self) -> bool:
        return self._settings.attached

    def attach(self, id: str) -> socket.socket:
        return self._engine.attach(id)

    def create(self, limits: Limits, label: str, token: str, folder: Path | None) -> str:
        config = container_config(self._settings, label, token)
        return self._engine.create(config, host_config(self._settings, limits, folder))

    def start(self, id: str) -> None:
        self._engine.start(id)

    def problem(self, id: str) -> str:
        state = self._engine.inspect(id).get("State", {})
        if state.get("Running"):
            return ""
        return (
            f"the sandbox container ended at once (status {state.get('ExitCode', 'unknown')}); "
            f"is {self._settings.image} an image with python3? `corral sandbox build` makes one"
        )

    def remove(self, id: str) -> None:
        self._engine.remove(id)

    def terms(self, limits: Limits) -> Terms:
        processes = max(1, limits.processes - RESERVED_PROCESSES)
        return Terms(True, {"NOFILE": limits.open_files, "NPROC": processes, "CORE": 0}, whole=True)


async def _reach() -> Engine:
    """Connect; whoever gives up waiting does not have to wait for an engine that never answers."""
    reached: list[Engine] = []
    given_up = False

    def connect() -> None:
        reached.append(Engine.connect())
        if given_up:
            reached[0].close()

    try:
        await to_thread.run_sync(connect, abandon_on_cancel=True)
    except BaseException:
        given_up = True
        for engine in reached:
            engine.close()
        raise
    return reached[0]


def _check_image(engine: Engine, image: str) -> None:
    if not engine.has_image(image):
        flavour = " --flavour data" if image == image_name("data") else ""
        which = "it" if image in (IMAGE, image_name("data")) else image_name()
        raise SandboxUnavailable(f"the engine has no image {image}; `corral sandbox build{flavour}` makes {which}")
