"""Commands done by hand: a tool called, code run, a call opened, the chat itself."""

from __future__ import annotations

import json

from corral.apps.chat.commands import Command
from corral.apps.chat.modes import ChatMode
from corral.apps.chat.state import Chat
from corral.apps.chat.themes import THEMES

__all__ = ["handwork"]


def handwork(chat: Chat) -> list[Command]:
    """The commands, over this chat."""
    hand = _Handwork(chat)
    tools = lambda: [tool.name for tool in chat.toolbox.tools]  # noqa: E731 - shorter than a function
    return [
        Command("/call", "TOOL {JSON}", "call a tool by hand, through the same gate", hand.call, tools),
        Command("/code", "PYTHON", "run code in the sandbox; names stay, tools are functions", hand.code),
        Command("/open", "[N]", "show call or cell N whole, or the last one (Ctrl-O)", hand.open),
        Command("/mode", "[ask|plan|all]", "what happens to what asks (Shift-Tab)", hand.mode, lambda: list(ChatMode)),
        Command("/theme", "[NAME]", "colours: dark, light, mono", hand.theme, lambda: list(THEMES)),
    ]


class _Handwork:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._screen = chat.screen

    async def call(self, rest: str) -> None:
        name, _, written = rest.partition(" ")
        if not name:
            self._screen.warn('/call TOOL {"parameter": "value"}')
            return
        try:
            arguments = json.loads(written.strip() or "{}")
        except (ValueError, RecursionError) as error:
            self._screen.warn(f"the arguments are not JSON: {error}")
            return
        outcome = await self._chat.bench.call(name, arguments)
        self._screen.say(outcome.text, "bad" if outcome.is_error else "")
        self._screen.show_pictures()

    async def code(self, source: str) -> None:
        if not source:
            self._screen.warn("/code PYTHON")
            return
        before = self._chat.bench.sandbox
        text, failed = await self._chat.bench.code(source)
        if before != self._chat.bench.sandbox:
            self._screen.say(f"sandbox: {self._chat.bench.sandbox}", "dim")
        self._screen.say(text or "(no output)", "bad" if failed else "")

    async def open(self, number: str) -> None:
        if number and not number.isdecimal():
            self._screen.warn("/open N, with the number before a call")
            return
        self._screen.open(int(number) if number else None)

    async def mode(self, name: str) -> None:
        if name:
            try:
                self._chat.take_mode(ChatMode(name))
            except ValueError:
                self._screen.warn(f"there is no mode {name!r}; there are {', '.join(ChatMode)}")
                return
        self._screen.say(f"mode {self._chat.mode.explanation}", "dim")

    async def theme(self, name: str) -> None:
        if name and name not in THEMES:
            self._screen.warn(f"there is no theme {name!r}; there are {', '.join(THEMES)}")
            return
        if name:
            self._screen.paper.theme = THEMES[name]
        self._screen.say(f"theme {self._screen.paper.theme.name}", "call")
