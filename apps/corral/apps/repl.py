"""The loop of a chat: lines in, turns and commands out."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from corral.agents import Agent, Session
from corral.apps.assembly import NO_MODEL
from corral.apps.bench import Bench
from corral.apps.screen import Screen
from corral.memory import MemoryFault
from corral.policy import PolicyError
from corral.sandbox import SandboxError

__all__ = ["Repl"]

T = TypeVar("T")

HELP = """\
/help                 this
/tools [NAME]         the tools, or one of them with its schema
/call TOOL {JSON}     call a tool by hand, through the same gate
/code PYTHON          run code in the sandbox; names stay, tools are functions
/memory QUERY         what memory finds
/clear                forget this conversation
/exit                 leave; Ctrl-D too
Ctrl-C stops what is running. A backslash at the end of a line goes on in the next."""


class Repl:
    """Reads lines until the person leaves.

    Args:
        has_model: Without one, only commands work.
    """

    def __init__(self, agent: Agent, bench: Bench, screen: Screen, *, has_model: bool) -> None:
        self._session = Session(agent, sinks=[screen], stream_text=True)
        self._bench = bench
        self._screen = screen
        self._has_model = has_model
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/tools": self._tools,
            "/call": self._call,
            "/code": self._code,
            "/memory": self._memory,
            "/clear": self._clear,
        }

    async def run(self) -> None:
        model = "" if self._has_model else " There is no model: /tools, /call and /code work, /help lists all."
        self._screen.say(f"{len(self._bench.toolbox)} tools.{model}", fg="bright_black")
        while True:
            try:
                line = (await self._read()).strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if line in ("/exit", "/quit"):
                return
            if line:
                await self._interruptible(self._handle(line))

    async def _read(self) -> str:
        line = await self._screen.read("> ")
        while line.endswith("\\"):
            line = line[:-1] + "\n" + await self._screen.read(". ")
        return line

    async def _handle(self, line: str) -> None:
        if not line.startswith("/"):
            await self._turn(line)
            return
        name, _, rest = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            self._screen.warn(f"there is no command {name}; /help lists them")
            return
        try:
            await command(rest.strip())
        except (SandboxError, MemoryFault, PolicyError) as error:
            self._screen.warn(str(error))

    async def _interruptible(self, work: Awaitable[T]) -> None:
        """Await `work`; Ctrl-C cancels it and nothing else."""
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            self._screen.warn("stopped")
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def _turn(self, text: str) -> None:
        if not self._has_model:
            self._screen.warn(NO_MODEL)
            return
        await self._session.run(text)

    async def _help(self, _: str) -> None:
        self._screen.say(HELP)

    async def _tools(self, name: str) -> None:
        toolbox = self._bench.toolbox
        if name:
            tool = toolbox.get(name)
            if tool is None:
                near = toolbox.suggest(name)
                self._screen.warn(
                    f"there is no tool {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
                )
            else:
                self._screen.say(f"{tool.signature()}\n{tool.resource}, effect {tool.effect.value}")
            return
        for tool in toolbox.tools:
            first = tool.description.strip().splitlines()[0] if tool.description.strip() else ""
            self._screen.say(f"{tool.name}  {first}"[:120])
        if not toolbox.tools:
            self._screen.say("no tools; name servers with --mcp-config", fg="bright_black")

    async def _call(self, rest: str) -> None:
        name, _, written = rest.partition(" ")
        if not name:
            self._screen.warn('/call TOOL {"parameter": "value"}')
            return
        try:
            arguments = json.loads(written.strip() or "{}")
        except ValueError as error:
            self._screen.warn(f"the arguments are not JSON: {error}")
            return
        outcome = await self._bench.call(name, arguments)
        self._screen.say(outcome.text, fg="red" if outcome.is_error else None)

    async def _code(self, source: str) -> None:
        if not source:
            self._screen.warn("/code PYTHON")
            return
        before = self._bench.sandbox
        text, failed = await self._bench.code(source)
        if before != self._bench.sandbox:
            self._screen.say(f"sandbox: {self._bench.sandbox}", fg="bright_black")
        self._screen.say(text or "(no output)", fg="red" if failed else None)

    async def _memory(self, query: str) -> None:
        if not query:
            self._screen.warn("/memory QUERY")
            return
        lines = await self._bench.recall(query)
        for line in lines:
            self._screen.say(line)
        if not lines:
            self._screen.say("nothing", fg="bright_black")

    async def _clear(self, _: str) -> None:
        self._session.clear()
        self._screen.say("a new conversation", fg="bright_black")
