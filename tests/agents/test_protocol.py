import pytest
from dspy.lm15 import FunctionTool, Message, ToolCallPart

from corral.agents.protocol import NativeProtocol, TextProtocol

OFFERS = (FunctionTool("add", "Add.", {"type": "object"}), FunctionTool("python", "Run.", {"type": "object"}))


def text_protocol() -> TextProtocol:
    protocol = TextProtocol()
    protocol.instructions(OFFERS)
    return protocol


def read(text: str) -> tuple[str, list[tuple[str, dict[str, object], str]]]:
    said, proposals = text_protocol().read(Message.assistant(text), "run", 1)
    return said, [(p.name, p.arguments, p.problem) for p in proposals]


def test_calls_are_read_from_the_field_markers() -> None:
    said, calls = read(
        "[[ ## next_thought ## ]]\nHm.\n\n[[ ## tool_calls ## ]]\n"
        '{"tool_calls": [{"name": "add", "args": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]}\n\n'
        "[[ ## completed ## ]]"
    )
    assert said == "Hm."
    assert calls == [("add", {"a": 1}, ""), ("add", {"a": 2}, "")]


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "add", "args": {"a": 1}}',
        '[{"name": "add", "args": {"a": 1}}]',
        '```json\n{"tool_calls": [{"name": "add", "args": {"a": 1}}]}\n```',
        'Sure: {"name": "add", "args": {"a": 1}} as you like',
    ],
)
def test_calls_without_markers_are_read_too(written: str) -> None:
    assert read(written)[1] == [("add", {"a": 1}, "")]


def test_a_fenced_block_of_python_is_a_call_of_python() -> None:
    assert read("Let me see.\n```python\nprint(1)\n```") == ("Let me see.", [("python", {"code": "print(1)\n"}, "")])


def test_what_is_not_json_is_told_to_the_model() -> None:
    _, calls = read("[[ ## tool_calls ## ]]\nadd(1, 2)")
    assert len(calls) == 1
    assert "not the JSON" in calls[0][2]


def test_arguments_that_are_no_object_are_told_to_the_model() -> None:
    assert "must be a JSON object" in read('{"name": "add", "args": [1, 2]}')[1][0][2]


@pytest.mark.parametrize("text", ["It is 3.", "Use {braces} freely.", '{"answer": 3}', "[1, 2]"])
def test_plain_text_proposes_nothing(text: str) -> None:
    assert read(text) == (text, [])


def test_ids_differ_from_step_to_step() -> None:
    protocol = text_protocol()
    message = Message.assistant('[{"name": "add", "args": {}}, {"name": "add", "args": {}}]')
    ids = [p.id for step in (1, 2) for p in protocol.read(message, "run", step)[1]]
    assert len(set(ids)) == 4


def test_broken_native_arguments_are_told_to_the_model() -> None:
    message = Message.assistant([ToolCallPart(id="1", name="add", input={"partial_json": '{"a": '})])
    _, proposals = NativeProtocol().read(message, "run", 1)
    assert "not valid JSON" in proposals[0].problem
