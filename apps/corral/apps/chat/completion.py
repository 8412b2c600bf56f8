"""What Tab offers: commands, what they take, and paths after an @."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from corral.apps.chat.commands import Command

__all__ = ["ChatCompleter"]


class ChatCompleter(Completer):
    """Completes the line of a chat.

    Args:
        commands: By name, as they are now.
    """

    def __init__(self, commands: Callable[[], Mapping[str, Command]]) -> None:
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        word = before.rpartition(" ")[2].rpartition("\n")[2]
        if before.startswith("/"):
            name, space, rest = before.partition(" ")
            commands = self._commands()
            if not space:
                for command in commands.values():
                    if command.name.startswith(name):
                        yield Completion(command.name, -len(name), display_meta=command.help)
            elif name in commands and " " not in rest:
                for choice in commands[name].choices():
                    if choice.startswith(rest):
                        yield Completion(choice, -len(rest))
        elif word.startswith("@"):
            yield from self._paths.get_completions(Document(word[1:]), complete_event)
