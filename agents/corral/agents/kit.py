"""What an agent opens for its runs: tools and sandbox, once for all runs that go on at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from corral.agents.errors import DefinitionError
from corral.tools import Toolbox

if TYPE_CHECKING:
    from corral.sandbox import SandboxProvider

__all__ = ["Kit"]


class Kit:
    """Opens with its first user and closes with its last.

    A toolbox that was open already stays open, and a sandbox provider that was given is not closed: whoever opened them
    closes them.
    """

    def __init__(self, toolbox: Toolbox, sandbox: SandboxProvider | None, needs_sandbox: bool) -> None:
        self.toolbox = toolbox
        self._given = sandbox
        self._made: SandboxProvider | None = None
        self._needs_sandbox = needs_sandbox
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: asyncio.Lock | None = None
        self._opened_toolbox = False

    @property
    def sandbox(self) -> SandboxProvider:
        provider = self._given or self._made
        if provider is None:
            raise DefinitionError("this agent runs no code; use CodeAct, or actions=Actions.CODE")
        return provider

    @property
    def runs_code(self) -> bool:
        return self._needs_sandbox

    @property
    def given_sandbox(self) -> Literal["auto", "docker", "linux", "monty"]:
        """What was asked for, as files name it."""
        name = self._given.name if self._given is not None else "auto"
        return "docker" if name == "docker" else "linux" if name == "linux" else "monty" if name == "monty" else "auto"

    async def open(self) -> None:
        """Add a user.

        Raises:
            DefinitionError: The kit is in use in another event loop.
            SandboxUnavailable: Code is to run, and there is no sandbox.
            ToolError: A strict toolbox could not open a source.
        """
        async with self._locked():
            if self._users == 0:
                try:
                    await self._open_all()
                except BaseException:
                    await self._close_all()
                    raise
            self._users += 1

    async def close(self) -> None:
        """Take a user off; the last one closes what `open` opened."""
        async with self._locked():
            self._users -= 1
            if self._users == 0:
                await self._close_all()

    async def _open_all(self) -> None:
        if not self.toolbox.is_open:
            await self.toolbox.__aenter__()
            self._opened_toolbox = True
        if self._needs_sandbox and self._given is None:
            from corral.sandbox import choose  # every provider, which most agents never need

            # Now, not at the first cell: the prompt says what the sandbox can do.
            self._made = (await choose()).provider

    async def _close_all(self) -> None:
        made, self._made = self._made, None
        try:
            if made is not None:
                await made.close()
        finally:
            if self._opened_toolbox:
                self._opened_toolbox = False
                await self.toolbox.__aexit__(None, None, None)

    def _locked(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._lock is None:
            if self._users:
                raise DefinitionError(
                    "this agent is running in another event loop; make an agent for each loop, or use one way in, "
                    "sync or async"
                )
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    def __deepcopy__(self, memo: dict[int, Any]) -> Kit:
        # DSPy's optimisers copy agents: the copies act with the same tools in the same sandbox.
        return self
