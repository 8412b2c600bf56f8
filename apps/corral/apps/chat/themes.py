"""Colours of the chat, by what a thing is."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.theme import Theme as RichTheme

__all__ = ["THEMES", "Theme"]


@dataclass(frozen=True)
class Theme:
    """Colours by what a thing is.

    Attributes:
        code: Pygments' style for source.
        toolbar: prompt_toolkit's style for the status line.
    """

    name: str
    code: str
    toolbar: str
    styles: dict[str, str] = field(default_factory=dict[str, str])

    def rich(self) -> RichTheme:
        """The same for rich, whose own colours of Markdown are kept but for code."""
        return RichTheme({"markdown.code": self.styles["call"], "markdown.code_block": "none", **self.styles})


_ROLES = ("you", "call", "ok", "bad", "ask", "dim", "added", "removed")


def _theme(name: str, code: str, toolbar: str, *styles: str) -> Theme:
    return Theme(name, code, toolbar, dict(zip(_ROLES, styles, strict=True)))


THEMES = {
    theme.name: theme
    for theme in (
        _theme(
            "dark", "ansi_dark", "noreverse fg:ansibrightblack",
            "bold", "cyan", "green", "red", "bold yellow", "bright_black", "green", "red",
        ),
        _theme(
            "light", "ansi_light", "noreverse fg:ansibrightblack",
            "bold", "blue", "green", "red", "bold magenta", "bright_black", "green", "red",
        ),
        _theme("mono", "bw", "noreverse", "bold", "none", "none", "bold", "bold", "dim", "none", "none"),
    )
}  # fmt: skip
