"""The strongest sandbox that works here, and why it is that one; never none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self, get_args

import anyio

from corral.sandbox import image
from corral.sandbox.docker import DockerProvider
from corral.sandbox.errors import SandboxUnavailable
from corral.sandbox.linux import LinuxProvider
from corral.sandbox.monty import MontyProvider
from corral.sandbox.sandbox import Sandbox, SandboxProvider, SandboxSpec

__all__ = ["PROVIDERS", "AutoProvider", "Choice", "ProviderName", "choose", "provider_named"]

ProviderName = Literal["docker", "linux", "monty"]
PROVIDERS: tuple[ProviderName, ...] = get_args(ProviderName)
"""What can be chosen by name; the strongest first."""


@dataclass(frozen=True)
class Choice:
    """A provider and, in one sentence, why it was taken. Whoever chose closes it."""

    provider: SandboxProvider
    reason: str


def provider_named(name: ProviderName) -> SandboxProvider:
    """One that was chosen; "linux" is bubblewrap where it is installed, else Landlock and seccomp."""
    match name:
        case "docker":
            return DockerProvider()
        case "linux":
            return LinuxProvider()
        case "monty":
            return MontyProvider()


async def choose(*, build: Callable[[str], None] | None = None) -> Choice:
    """Docker when a session opens there, else this Linux under bubblewrap, else Monty.

    Args:
        build: Make a missing image, which takes half a minute, and tell the progress here; None does not make one.

    Raises:
        SandboxUnavailable: Neither works; nothing ever runs unsandboxed.
    """
    docker = DockerProvider()
    try:
        if build is not None and not await image.image_exists():
            await image.build(build)
        await _try(docker)
        missing = f", but ignores limits on {', '.join(docker.ignored_limits)}" if docker.ignored_limits else ""
        return Choice(docker, f"Docker: an engine answers and the image is there{missing}")
    except SandboxUnavailable as error:
        no_docker = str(error)
    linux = LinuxProvider()
    try:
        if not linux.has_bubblewrap:  # Landlock and seccomp alone are a wall to choose, not to be given
            raise SandboxUnavailable("bubblewrap is not installed")
        await _try(linux)
        return Choice(linux, f"bubblewrap on this Linux, because Docker does not work here: {no_docker}")
    except SandboxUnavailable as error:
        no_linux = str(error)
    monty = MontyProvider()
    try:
        await _try(monty)
        return Choice(monty, f"Monty, because Docker does not work here: {no_docker}; nor bubblewrap: {no_linux}")
    except (SandboxUnavailable, ImportError) as error:
        problems = f"Docker: {no_docker}; bubblewrap: {no_linux}; Monty: {error}"
        raise SandboxUnavailable(f"no sandbox works here; {problems}") from error


async def _try(provider: SandboxProvider) -> None:
    """Open a session and close it; on failure, and when cancelled, the provider too."""
    try:
        async with await provider.open():
            pass
    except BaseException:
        await provider.close()
        raise


class AutoProvider:
    """A provider that chooses at the first `open`. Until then `name` is "auto" and `reason` is empty."""

    def __init__(self, *, build: Callable[[str], None] | None = None) -> None:
        self._build = build
        self._choice: Choice | None = None
        self._choosing = anyio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        return self._choice.provider.name if self._choice else "auto"

    @property
    def reason(self) -> str:
        """Why this provider, in one sentence."""
        return self._choice.reason if self._choice else ""

    @property
    def opens_network(self) -> bool:
        return self._choice is None or self._choice.provider.opens_network

    @property
    def instructions(self) -> str:
        if self._choice:
            return self._choice.provider.instructions
        return "Code runs as Python in a sandbox without network; names stay from cell to cell."

    async def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        """Open a session; where it can reach no host, without `SandboxSpec.network`."""
        async with self._choosing:
            if self._closed:
                raise SandboxUnavailable("the provider is closed")
            if self._choice is None:
                choice = await choose(build=self._build)
                if self._closed:  # while it was chosen
                    await choice.provider.close()
                    raise SandboxUnavailable("the provider is closed")
                self._choice = choice
        provider = self._choice.provider
        if spec is not None and not provider.opens_network:
            spec = replace(spec, network=None)
        return await provider.open(spec)

    async def close(self) -> None:
        self._closed = True
        if self._choice is not None:
            await self._choice.provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
