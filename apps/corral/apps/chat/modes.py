"""Modes of a chat: what happens to what the policy asks about."""

from __future__ import annotations

from enum import StrEnum

from corral.policy import Mode

__all__ = ["ChatMode"]


class ChatMode(StrEnum):
    """What the person at the terminal has chosen; none of them lets through what a rule denies."""

    ASK = "ask"
    """What the policy asks about is asked here."""
    PLAN = "plan"
    """Nothing that changes anything."""
    ALL = "all"
    """Whatever asks is agreed to, as long as the chat lasts."""

    @property
    def following(self) -> ChatMode:
        """The next one that Shift-Tab comes to."""
        modes = list(ChatMode)
        return modes[(modes.index(self) + 1) % len(modes)]

    @property
    def gate(self) -> Mode:
        """How the gate takes its policy then."""
        return Mode.PLAN if self is ChatMode.PLAN else Mode.ENFORCE

    @property
    def explanation(self) -> str:
        """One line for the person."""
        return {
            ChatMode.ASK: "ask: what the policy asks about is asked here",
            ChatMode.PLAN: "plan: nothing is changed, tools that only read may be called",
            ChatMode.ALL: "all: what asks is agreed to in this chat; what is denied stays denied",
        }[self]
