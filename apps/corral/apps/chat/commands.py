"""Slash commands: what they are called, what they take, and which one somebody meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["Command", "help_text", "nearest"]


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        usage: What comes after the name.
        run: Awaited with the rest of the line.
        choices: What may come first after the name, for Tab.
    """

    name: str
    usage: str
    help: str
    run: Callable[[str], Awaitable[None]]
    choices: Callable[[], Iterable[str]] = tuple


def help_text(commands: Mapping[str, Command], keys: str, width: int) -> str:
    """A line for each command, two where it is narrow, and the keys."""
    lines: list[str] = []
    for command in commands.values():
        head = f"{command.name} {command.usage}".rstrip()
        if width >= 70:
            lines.append(f"{head:<24} {command.help}")
        else:
            lines += [head, f"    {command.help}"]
    return "\n".join([*lines, keys])


def nearest(name: str, commands: Iterable[str]) -> list[str]:
    """At most three commands that `name` may have meant."""
    known = list(commands)
    begun = [command for command in known if command.startswith(name)]
    return list(dict.fromkeys([*begun, *get_close_matches(name, known, n=3, cutoff=0.6)]))[:3]
