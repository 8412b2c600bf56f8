"""Where a chat is printed: rich's renderables as plain lines that stay in the terminal's own scrollback."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Mapping

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.text import Text

from corral.apps.chat.themes import THEMES, Theme
from corral.apps.terminal import printable

__all__ = ["Paper"]

_MOST_LINES = 10_000


class Paper:
    """Prints what the chat shows. What comes from models, tools and files is made harmless here, and nowhere later.

    Args:
        environ: Says what the terminal can do: TERM, NO_COLOR, COLORTERM.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = dict(environ)
        self.out: Callable[[str], None] = _to_stdout
        """Where rendered text goes."""
        self.is_plain = environ.get("TERM", "") in ("", "dumb", "unknown")
        self.theme: Theme = THEMES["mono" if environ.get("NO_COLOR") else "dark"]

    @property
    def width(self) -> int:
        """Columns of the terminal now."""
        return max(20, _size().columns)

    @property
    def height(self) -> int:
        """Lines of the terminal now."""
        return max(5, _size().lines)

    def render(self, thing: RenderableType, *, width: int | None = None) -> str:
        """`thing` as text with the terminal's own colours."""
        console = Console(
            file=io.StringIO(),
            width=width or self.width,
            theme=self.theme.rich(),
            force_terminal=not self.is_plain,
            color_system=None if self.is_plain else "auto",
            highlight=False,
            markup=False,
            emoji=False,
            _environ=self._environ,
        )
        with console.capture() as captured:
            console.print(thing)
        # Rich pads lines with blanks, which would wrap when the window is made smaller.
        return re.sub(r"[ ]+$", "", captured.get(), flags=re.MULTILINE)

    def put(self, thing: RenderableType) -> None:
        """Print something that this program made of harmless text."""
        self.write(self.render(thing))

    def say(self, text: str, style: str = "") -> None:
        """Print foreign or own text, in one of the theme's styles."""
        self.put(self.text(text, style))

    def warn(self, text: str) -> None:
        self.say(text, "ask")

    def text(self, text: str, style: str = "") -> Text:
        """Foreign text, made harmless."""
        return Text(printable(text), style=style)

    def markdown(self, text: str) -> RenderableType:
        """A model's Markdown. Links show where they lead, and images stay words."""
        return Markdown(printable(text), code_theme=self.theme.code, hyperlinks=False)

    def code(self, source: str, language: str = "python") -> RenderableType:
        """Source, coloured."""
        lines = printable(source).splitlines()
        cut = [f"… {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else []
        shown = "\n".join([*lines[:_MOST_LINES], *cut])
        return Syntax(shown, language, theme=self.theme.code, background_color="default", word_wrap=True)

    def write(self, text: str) -> None:
        """Hand rendered text to the terminal."""
        self.out(text)


def _size() -> os.terminal_size:
    """The terminal's own word, not that of COLUMNS: the line editor goes by it, too."""
    try:
        return os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    except OSError:
        return os.terminal_size((80, 24))


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
