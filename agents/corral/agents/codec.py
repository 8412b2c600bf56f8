"""lm15 messages as JSON and back, without loss.

DSPy exports the message types, and not their serialisers: those are taken from its vendored copy here and nowhere else,
and a contract test pins them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy.lm15 import Message, Request

__all__ = ["message_from_json", "message_to_json", "request_to_json"]


def message_to_json(message: Message) -> dict[str, Any]:
    """A message as JSON values."""
    from dspy._vendor.lm15.serde import message_to_dict  # DSPy, which looking at a journal needs not

    return message_to_dict(message)


def message_from_json(data: dict[str, Any]) -> Message:
    """A message from what `message_to_json` made."""
    from dspy._vendor.lm15.serde import message_from_dict

    return message_from_dict(data)


def request_to_json(request: Request) -> dict[str, Any]:
    """A request as JSON values: all that goes on the wire, and nothing of where it goes."""
    from dspy._vendor.lm15.serde import request_to_dict

    return request_to_dict(request)
