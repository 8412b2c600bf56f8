"""The loop of a chat: lines in, turns and commands out."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress

from corral.agents import AgentError
from corral.apps.assembly import NO_MODEL
from corral.apps.chat.commands import Command, help_text, nearest
from corral.apps.chat.handwork import handwork
from corral.apps.chat.looking import looking
from corral.apps.chat.mentions import with_files
from corral.apps.chat.prompts import prompt_commands
from corral.apps.chat.shell import run_command, why_not
from corral.apps.chat.state import Chat
from corral.apps.chat.turns import go_on, show_last, turns
from corral.memory import MemoryFault
from corral.policy import Denied, PolicyError
from corral.sandbox import SandboxError
from corral.tools import ToolError

__all__ = ["Repl"]

_TWICE = 1.5
"""Seconds in which a second Ctrl-C leaves."""

_KEYS = """\
Enter sends; Ctrl-J or a backslash at the end goes on in the next line. Ctrl-R searches what was typed, Tab completes.
Ctrl-C stops what is running, twice leaves; Ctrl-D leaves. Shift-Tab changes the mode, Ctrl-O opens the last call.
@path puts a file below what you write; !command runs in your shell where a rule allows tool:local/shell."""


class Repl:
    """Reads lines until the person leaves. What runs is done one after the other; lines typed meanwhile wait.

    Args:
        picks: Begin with a choice among the sessions of the journal.
    """

    def __init__(self, chat: Chat, *, picks: bool = False) -> None:
        self._chat = chat
        self._picks = picks
        self._screen = chat.screen
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None
        self._interrupted = 0.0
        listed = [
            Command("/help", "", "this", self._help),
            *handwork(chat),
            *looking(chat),
            *turns(chat),
            Command("/exit", "", "leave; Ctrl-D too", self._exit),
        ]
        self.commands: dict[str, Command] = {command.name: command for command in listed}

    async def run(self) -> None:
        """Until the person leaves. What is unanswered or unfinished then stays in the journal."""
        keyboard = self._screen.keyboard
        assert keyboard is not None
        with keyboard.opened(), self._signals():
            worker = asyncio.create_task(self._take_lines())
            ticker = asyncio.create_task(self._tick())
            try:
                while True:
                    line = (await keyboard.read()).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                    self._take(line.strip())
            except EOFError:
                pass
            finally:
                await self._end(worker, ticker)

    def interrupt(self, typed: bool) -> bool:
        """Ctrl-C: stop what runs, or clear what is typed; twice, leave. Whether what is typed stays."""
        now = time.monotonic()
        if now - self._interrupted < _TWICE and not typed:
            self._leave()
        elif self._work is not None:
            self._interrupted = now
            self._work.cancel()
            return True
        elif not typed:
            self._interrupted = now
            self._screen.say("Ctrl-C again leaves", "dim")
        return False

    def next_mode(self) -> None:
        self._chat.take_mode(self._chat.mode.following)
        self._screen.say(f"mode {self._chat.mode.explanation}", "dim")

    def open_last(self) -> None:
        self._screen.open(None)

    def _greet(self) -> None:
        chat = self._chat
        model = "" if chat.has_model else " There is no model: /tools, /call and /code work, /help lists all."
        number = len(chat.toolbox)
        self._screen.say(f"{number} {'tool' if number == 1 else 'tools'}.{model}", "dim")
        for name, problem in chat.toolbox.failures.items():
            self._screen.warn(f"{name}: {problem}")
        if not chat.base.is_secure:
            self._screen.warn("INSECURE: in shadow mode nothing is refused, it is only written down")

    def _take(self, line: str) -> None:
        self._interrupted = 0.0
        if line in ("/exit", "/quit"):
            self._leave()
        elif line:
            self._lines.put_nowait(line)
            if self._work is not None:
                self._screen.queued.append(line)
                self._screen.refresh()
        elif self._work is None:
            self._idle()

    async def _take_lines(self) -> None:
        """Do what the lines say, one after the other; a turn that was cut off comes before them."""
        if self._screen.keyboard is not None:
            await self._screen.keyboard.ready()
        self._greet()
        self.commands |= {command.name: command for command in await prompt_commands(self._chat)}
        if self._picks:
            await self._interruptible(self._handle("/resume"))
        elif self._chat.conversation.is_loaded:
            await self._interruptible(self._go_on())
        while True:
            if self._lines.empty():
                self._idle()
            line = await self._lines.get()
            if line in self._screen.queued:
                self._screen.queued.remove(line)
            self._screen.echo(line)
            await self._interruptible(self._handle(line))

    async def _interruptible(self, work: Awaitable[None]) -> None:
        """Await `work`; Ctrl-C cancels it and nothing else."""
        self._work = asyncio.ensure_future(work)
        self._screen.busy(True)
        try:
            await self._work
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                self._work.cancel()
                with suppress(asyncio.CancelledError):
                    await self._work
                raise
            self._screen.warn("stopped")
        finally:
            self._work = None
            self._screen.busy(False)

    async def _handle(self, line: str) -> None:
        try:
            if line.startswith("!"):
                await self._shell(line[1:].strip())
            elif line.startswith("/"):
                await self._command(line)
            else:
                await self._turn(line)
        except (AgentError, MemoryFault, PolicyError, SandboxError, ToolError) as error:
            self._screen.warn(str(error))

    async def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        command = self.commands.get(name)
        if command is None:
            near = nearest(name, self.commands)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            self._screen.warn(f"there is no command {name}{hint or '; /help lists them'}")
            return
        await command.run(rest.strip())

    async def _turn(self, text: str) -> None:
        if not self._chat.has_model:
            self._screen.warn(NO_MODEL)
            return
        task = await with_files(text, self._chat.mentions, self._screen.warn)
        await self._chat.begin(task)

    async def _go_on(self) -> None:
        show_last(self._chat)
        try:
            await go_on(self._chat)
        except (AgentError, MemoryFault, PolicyError, SandboxError, ToolError) as error:
            self._screen.warn(str(error))

    async def _shell(self, command: str) -> None:
        try:
            output, status = await run_command(command, self._chat.shell)
        except Denied as error:
            self._screen.warn(why_not(error))
            return
        self._screen.say(output.rstrip("\n") or "(no output)")
        if status:
            self._screen.say(f"exit status {status}", "bad")

    async def _help(self, _: str) -> None:
        self._screen.say(help_text(self.commands, _KEYS, self._screen.paper.width))

    async def _exit(self, _: str) -> None:
        self._leave()

    def _idle(self) -> None:
        if self._screen.keyboard is not None:
            self._screen.keyboard.idle()

    def _leave(self) -> None:
        if self._screen.keyboard is not None:
            self._screen.keyboard.leave()

    async def _tick(self) -> None:
        """Draw what changes by itself, such as seconds, while something runs."""
        while True:
            await asyncio.sleep(0.2)
            if self._work is not None:
                self._screen.refresh()

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        asked = self._work is not None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._chat.conversation.agent.consolidated(0.0)  # who leaves does not wait: the next chat goes on with it
        session = self._chat.conversation.session
        if asked and session.unfinished is not None:
            self._screen.warn("what was asked is not answered: `corral chat -c` asks again")

    def _signals(self) -> _Signals:
        return _Signals({signal.SIGINT: lambda: self.interrupt(False), signal.SIGTERM: self._leave,
                         signal.SIGHUP: self._leave})  # fmt: skip


class _Signals:
    """Handlers in the running loop, taken out again at the end."""

    def __init__(self, handlers: Mapping[signal.Signals, object]) -> None:
        self._handlers = handlers

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in self._handlers.items():
            loop.add_signal_handler(number, handler)  # pyright: ignore[reportArgumentType]

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in self._handlers:
            loop.remove_signal_handler(number)
