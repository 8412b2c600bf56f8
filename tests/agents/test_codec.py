"""Pins what we take from DSPy's vendored lm15: if these fail, a DSPy release changed its serialisers."""

import json

import pytest
from dspy.lm15 import Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart

from corral.agents.codec import message_from_json, message_to_json


@pytest.mark.parametrize(
    "message",
    [
        Message.user("héllo \n\t ✓"),
        Message.assistant(
            [ThinkingPart("hm"), TextPart("a"), ToolCallPart(id="1", name="f", input={"x": [1, {"y": None}]})]
        ),
        Message("tool", (ToolResultPart(id="1", name="f", content=(TextPart("no"),), is_error=True),)),
    ],
)
def test_messages_go_through_json_without_loss(message: Message) -> None:
    assert message_from_json(json.loads(json.dumps(message_to_json(message)))) == message
