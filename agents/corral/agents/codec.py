"""lm15 messages as JSON and back, without loss.

DSPy exports the message types, and not their serialisers: those are taken from its vendored copy here and nowhere else,
and a contract test pins them.
"""

from __future__ import annotations

from typing import Any

from dspy._vendor.lm15.serde import message_from_dict, message_to_dict, request_to_dict
from dspy.lm15 import Message, Request

__all__ = ["message_from_json", "message_to_json", "request_to_json"]


def message_to_json(message: Message) -> dict[str, Any]:
    """A message as JSON values."""
    return message_to_dict(message)


def message_from_json(data: dict[str, Any]) -> Message:
    """A message from what `message_to_json` made."""
    return message_from_dict(data)


def request_to_json(request: Request) -> dict[str, Any]:
    """A request as JSON values: all that goes on the wire, and nothing of where it goes."""
    return request_to_dict(request)
