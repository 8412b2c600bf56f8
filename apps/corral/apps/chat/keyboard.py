"""Where lines come from: a terminal that can be drawn on, or one that can only print."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import DynamicStyle, Style

__all__ = ["Hands", "Keyboard", "LineKeyboard", "PlainKeyboard"]


class Hands(Protocol):
    """What keys do, beside writing."""

    def interrupt(self, typed: bool) -> bool:
        """Ctrl-C. Whether what is typed stays."""
        ...

    def next_mode(self) -> None: ...

    def open_last(self) -> None: ...


class Keyboard(Protocol):
    """Reads what a person types: lines, and answers to a question that stands above them."""

    async def read(self) -> str:
        """The next line.

        Raises:
            EOFError: The person leaves, or the terminal is gone.
        """
        ...

    async def ready(self) -> None:
        """Wait until keys are heard."""
        ...

    async def answer(self, prompt: str) -> str:
        """The answer to a question; a line that is being typed is put aside. `read` must be awaited meanwhile."""
        ...

    def idle(self) -> None:
        """Nothing goes on: whoever looks may type."""
        ...

    def refresh(self) -> None:
        """Something that is drawn has changed."""
        ...

    def leave(self) -> None:
        """Let `read` raise EOFError."""
        ...

    def print(self, text: str) -> None:
        """Print rendered text, whole lines, above the line that is typed."""
        ...

    def opened(self) -> AbstractContextManager[None]:
        """In between, what others print goes above the line, too."""
        ...


class LineKeyboard:
    """A line editor at the bottom of the terminal, with what is going on above it and a status line below.

    Args:
        above: Rendered text to draw above the line: what is not printed for good yet.
        status: The status line.
        toolbar_style: prompt_toolkit's style for it, as it is now.
        history: A file; None keeps the history in memory.
    """

    def __init__(
        self,
        hands: Hands,
        above: Callable[[], str],
        status: Callable[[], str],
        toolbar_style: Callable[[], str],
        completer: Completer,
        history: Path | None,
    ) -> None:
        self._above = above
        self._status = status
        self._question: tuple[str, asyncio.Future[str]] | None = None
        self._aside = ""
        self._ready = asyncio.Event()
        self._left = False
        self._lines: PromptSession[str] = PromptSession(
            self._message,
            history=_history(history),
            bottom_toolbar=self._toolbar,
            completer=completer,
            complete_while_typing=Condition(self._completes),
            key_bindings=self._keys(hands),
            style=DynamicStyle(lambda: Style.from_dict({"bottom-toolbar": toolbar_style()})),
            erase_when_done=True,
            enable_suspend=True,
            reserve_space_for_menu=6,
        )
        self._lines.app.min_redraw_interval = 0.04

    async def read(self) -> str:
        if self._left:
            raise EOFError
        default, self._aside = self._aside, ""
        return await self._lines.prompt_async(default=default, handle_sigint=False, pre_run=self._ready.set)

    async def ready(self) -> None:
        await self._ready.wait()

    async def answer(self, prompt: str) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        buffer = self._lines.default_buffer
        self._aside = self._aside or buffer.text
        buffer.reset()
        self._question = prompt, future
        self.refresh()
        try:
            return await future
        finally:
            self._question = None
            buffer.text, self._aside = self._aside, ""
            buffer.cursor_position = len(buffer.text)
            self.refresh()

    def idle(self) -> None:
        pass

    def refresh(self) -> None:
        self._lines.app.invalidate()

    def leave(self) -> None:
        self._left = True
        if self._lines.app.is_running and not self._lines.app.is_done:
            self._lines.app.exit(exception=EOFError())

    def print(self, text: str) -> None:
        app = self._lines.app
        if app.is_running:
            # Not prompt_toolkit's in_terminal: it gives the terminal back its own line editing for a moment, in which a
            # Ctrl-C throws away what was typed.
            app.renderer.erase()
        app.output.write_raw(text)
        app.output.flush()
        if app.is_running:
            self._take_no_room()
            app.invalidate()

    def _take_no_room(self) -> None:
        """Say that there is no room below the cursor: what is drawn takes the lines that it needs, and no more.

        Where the cursor really is, the terminal says too late, after the next thing was printed; drawn from there, the
        line would push what was printed last out of sight, such as what a question is about.
        """
        renderer = self._lines.app.renderer
        renderer.report_absolute_cursor_row(renderer.output.get_size().rows)

    @contextmanager
    def opened(self) -> Generator[None]:
        # Raw between two lines, too: else the terminal would show what is typed then, and take Enter for Ctrl-J.
        with patch_stdout(raw=True), self._lines.app.input.raw_mode():
            yield

    def _message(self) -> AnyFormattedText:
        prompt = f"\x1b[1m{self._question[0]}\x1b[0m" if self._question else "\x1b[1m>\x1b[0m "
        return ANSI(self._above() + prompt)

    def _toolbar(self) -> AnyFormattedText:
        return self._status()

    def _completes(self) -> bool:
        before = self._lines.default_buffer.document.text_before_cursor
        return self._question is None and (before.startswith("/") or before.rpartition(" ")[2].startswith("@"))

    def _keys(self, hands: Hands) -> KeyBindings:
        keys = KeyBindings()
        asked = Condition(lambda: self._question is not None)
        continued = Condition(lambda: self._lines.default_buffer.document.text_before_cursor.endswith("\\"))

        @keys.add("enter", filter=asked, eager=True)
        def _answer(event: KeyPressEvent) -> None:
            if self._question is not None and not self._question[1].done():
                self._question[1].set_result(event.current_buffer.text)
                event.current_buffer.reset()

        @keys.add("enter", filter=continued & ~asked)
        def _go_on(event: KeyPressEvent) -> None:
            event.current_buffer.delete_before_cursor()
            event.current_buffer.insert_text("\n")

        @keys.add("c-j")
        def _newline(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        def _interrupt(event: KeyPressEvent) -> None:
            if not hands.interrupt(bool(event.current_buffer.text)):
                event.current_buffer.reset()

        @keys.add("c-d", filter=asked)
        def _leave(event: KeyPressEvent) -> None:
            self.leave()

        @keys.add("s-tab", filter=~has_completions)
        def _mode(event: KeyPressEvent) -> None:
            hands.next_mode()

        @keys.add(Keys.CPRResponse, save_before=lambda _: False)
        def _cursor(event: KeyPressEvent) -> None:
            self._take_no_room()

        @keys.add("c-o")
        def _open(event: KeyPressEvent) -> None:
            hands.open_last()

        return keys


class PlainKeyboard:
    """Lines of a terminal that only prints: the terminal itself edits them and shows them."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._rest = b""
        self._question: asyncio.Future[str] | None = None
        self._reading = False

    async def read(self) -> str:
        if not self._reading:
            self._reading = True
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._readable)
        while True:
            line = await self._lines.get()
            if line is None:
                raise EOFError
            if self._question is not None and not self._question.done():
                self._question.set_result(line)
                continue
            if not line.endswith("\\"):
                return line
            _write(". ")
            more = await self._lines.get()
            if more is None:
                raise EOFError
            await self._lines.put(line[:-1] + "\n" + more)

    async def ready(self) -> None:
        pass

    async def answer(self, prompt: str) -> str:
        self._question = asyncio.get_running_loop().create_future()
        _write(prompt)
        try:
            return await self._question
        finally:
            self._question = None

    def idle(self) -> None:
        _write("> ")

    def refresh(self) -> None:
        pass

    def leave(self) -> None:
        self._stop()
        self._lines.put_nowait(None)

    def print(self, text: str) -> None:
        _write(text)

    def opened(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _readable(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 65_536)
        except OSError:
            data = b""
        if not data:
            self.leave()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._lines.put_nowait(line.decode("utf-8", "replace"))

    def _stop(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    return FileHistory(path)
