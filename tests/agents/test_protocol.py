from typing import Any

import pytest
from dspy.lm15 import FunctionTool, Message, ToolCallPart

from corral.agents.protocol import Answer, NativeProtocol, TextProtocol

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


def native(text_answers: bool = True) -> NativeProtocol:
    protocol = NativeProtocol(text_answers=text_answers)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    protocol.instructions((FunctionTool("add", "Add.", schema), OFFERS[1]))
    return protocol


def read_native(text: str, text_answers: bool = True) -> tuple[str, list[tuple[str, dict[str, object]]]]:
    said, proposals = native(text_answers).read(Message.assistant(text), "run", 1)
    assert all(proposal.in_text for proposal in proposals)
    return said, [(p.name, p.arguments) for p in proposals]


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        'I will add. <tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>',
        '[[ ## tool_calls ## ]]\n{"tool_calls": [{"name": "add", "args": {"a": 1}}]}',
        '{"name": "add", "parameters": {"a": 1}}',
        '```json\n[{"name": "add", "args": {"a": 1}}]\n```',
    ],
)
def test_a_call_written_into_text_is_read_where_function_calls_are_offered(written: str) -> None:
    assert read_native(written) == ("", [("add", {"a": 1})])


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.",
        '{"name": "add"}',
        '{"name": "Bruno", "args": "none"}',
        'Write {"name": "add", "args": {"a": 1}} to add.',
        '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
        '{"answer": 3}',
    ],
)
def test_an_answer_that_looks_a_little_like_a_call_stays_an_answer(text: str) -> None:
    assert read_native(text) == (text, [])


def test_python_at_the_end_of_a_text_is_run_and_python_in_it_is_an_answer() -> None:
    looking = "Let me look.\n```python\nprint(1)\n```\n"
    assert read_native(looking) == ("Let me look.", [("python", {"code": "print(1)\n"})])
    answer = "Write:\n```python\nprint(1)\n```\nIt prints 1."
    assert read_native(answer) == (answer, [])
    assert read_native(answer, text_answers=False)[1] == [("python", {"code": "print(1)\n"})]


def test_python_that_was_run_and_is_said_again_is_the_answer() -> None:
    protocol, message = native(), Message.assistant("```python\nprint(1)\n```")
    assert [p.name for p in protocol.read(message, "run", 1)[1]] == ["python"]
    assert protocol.read(message, "run", 2) == ("```python\nprint(1)\n```", [])


def test_the_result_of_a_written_call_is_told_as_text() -> None:
    protocol = native()
    _, proposals = protocol.read(Message.assistant('{"name": "add", "args": {"a": 1}}'), "run", 1)
    told = protocol.results([Answer(proposals[0], "1")])
    assert told.role == "user"
    assert "add returned:\n1" in (told.text or "")


@pytest.mark.parametrize(("sent", "kind"), [([1, 2], "a list"), ("x", "a string"), (3, "a number"), (None, "null")])
def test_native_arguments_that_are_no_object_are_told_to_the_model(sent: Any, kind: str) -> None:
    _, proposals = native().read(Message.assistant([ToolCallPart("1", "add", {"value": sent})]), "run", 1)
    assert kind in proposals[0].problem
    protocol = NativeProtocol()
    protocol.instructions((FunctionTool("take", "", {"type": "object", "properties": {"value": {}}}),))
    _, proposals = protocol.read(Message.assistant([ToolCallPart("1", "take", {"value": sent})]), "run", 1)
    assert (proposals[0].arguments, proposals[0].problem) == ({"value": sent}, "")


def test_one_call_sent_twice_is_one_call() -> None:
    call, other = ToolCallPart("1", "add", {"a": 1}), ToolCallPart("1", "add", {"a": 2})
    _, proposals = native().read(Message.assistant([call, call, other]), "run", 1)
    assert [bool(p.problem) for p in proposals] == [False, True, False]
