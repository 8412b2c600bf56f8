"""The prompt's length in tokens: what the server counted of it, and a guess at what came since."""

from __future__ import annotations

from collections.abc import Sequence

from dspy.lm15 import FunctionTool, Message

from corral.agents.generation import Generation
from corral.agents.tokens import message_tokens, prefix_tokens

__all__ = ["Meter"]


class Meter:
    """Counts the prompts of one run, which only grow until they are `rewritten`."""

    def __init__(self, system: str, tools: Sequence[FunctionTool]) -> None:
        self.begin(system, tools)

    def begin(self, system: str, tools: Sequence[FunctionTool]) -> None:
        """Count from here: something else stands before the messages now."""
        self._system = system
        self._tools = tuple(tools)
        self._known: int | None = None
        self._known_messages = 0

    def prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of instructions, tools and `messages`."""
        known = self.prefix() if self._known is None else self._known
        return known + sum(message_tokens(message) for message in messages[self._known_messages :])

    def prefix(self) -> int:
        """A guess at the tokens of instructions and tools."""
        return prefix_tokens(self._system, self._tools)

    def note(self, messages: int, generation: Generation) -> None:
        """Learn from the server's count: `messages`, the answer included, came to this many tokens."""
        if not generation.estimated and not generation.cached:
            self._known = generation.usage.tokens
            self._known_messages = messages

    def rewritten(self) -> None:
        """The messages are no longer those that were counted."""
        self._known = None
        self._known_messages = 0
