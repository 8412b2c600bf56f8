"""Stubs for models that write code."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest

from corral.tools import Observation, Tool


def make(schema: dict[str, Any], output: dict[str, Any] | None = None, description: str = "", name: str = "f") -> Tool:
    async def run(arguments: dict[str, Any]) -> Observation:
        return Observation("")

    return Tool(name, "tool:x/f", run, description=description, input_schema=schema, output_schema=output)


def head(schema: dict[str, Any], **options: Any) -> str:
    return make({"type": "object", **schema}, **options).signature().splitlines()[0]


@pytest.mark.parametrize(
    ("properties", "required", "parameters"),
    [
        ({"a": {"type": "string"}}, ["a"], "a: str"),
        ({"a": {"type": "integer"}}, [], "a: int | None = None"),
        ({"a": {"type": "number", "default": 1.5}}, [], "a: float = 1.5"),
        ({"a": {"enum": ["x", "y"]}}, ["a"], "a: Literal['x', 'y']"),
        ({"a": {"const": 1}}, ["a"], "a: Literal[1]"),
        (
            {"a": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}},
            ["a"],
            "a: list[list[bool]]",
        ),
        ({"a": {"type": "object", "additionalProperties": {"type": "integer"}}}, ["a"], "a: dict[str, int]"),
        ({"a": {"type": "object", "properties": {"b": {}}}}, ["a"], "a: dict"),
        ({"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, [], "a: str | None = None"),
        ({"a": {"type": ["string", "null"]}}, ["a"], "a: str | None"),
        ({"a": {}}, [], "a: Any = None"),
        ({"a": True}, ["a"], "a: Any"),
        ({"a": {"type": "string"}, "b": {"type": "string"}}, ["b"], "a: str | None = None, *, b: str"),
        ({"from": {"type": "string"}, "file-path": {"type": "string"}}, ["from"], "**others: Any"),
        ({"a": {"$ref": "#/$defs/t"}}, ["a"], "a: list[Any]"),
    ],
)
def test_parameters_are_typed(properties: dict[str, Any], required: list[str], parameters: str) -> None:
    schema = {
        "properties": properties,
        "required": required,
        "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/u"}}},
    }
    assert head(schema) == f"def f({parameters}) -> str:"


def test_a_recursive_schema_ends() -> None:
    schema = {
        "properties": {"t": {"$ref": "#/$defs/t"}},
        "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
    }
    assert head(schema) == "def f(t: list[list[list[Any]]] | None = None) -> str:"


def test_the_result_is_typed_by_the_output_schema() -> None:
    assert head({}, output={"type": "array", "items": {"type": "integer"}}) == "def f() -> list[int]:"


def test_the_docstring_tells_of_tool_and_parameters() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "description": "metres\nabove sea"}, "b-c": {}}}
    assert make(schema, description="Climb.\n\nHigher.").signature() == (
        "def f(a: int | None = None, **others: Any) -> str:\n"
        '    """Climb.\n\n    Higher.\n\n    Args:\n        a: metres above sea\n        **{\'b-c\': ...}:\n    """'
    )


def test_a_name_that_is_a_keyword_or_has_a_dash_still_parses() -> None:
    assert make({"type": "object"}, name="get-time").signature().startswith("def get_time(")
    ast.parse(make({"type": "object"}, name="import").signature())


EDGES = ["", 'ends in "', '"""', "\\", "\\u", "a\0b", "'''", "tab\tend\\", "naïve\u2028", "\r", "{x}"]


def test_any_schema_gives_a_stub_that_parses() -> None:
    dice = random.Random(7)

    def anything(depth: int = 0) -> Any:
        if depth > 3 or dice.random() < 0.3:
            return dice.choice([None, True, 1, 1e400, "string", "array", "#", "#/properties", "#/x/y", *EDGES])
        if dice.random() < 0.2:
            return [anything(depth + 1) for _ in range(dice.randint(0, 3))]
        keys = [
            "type",
            "properties",
            "items",
            "enum",
            "const",
            "anyOf",
            "allOf",
            "$ref",
            "default",
            "required",
            "description",
            "additionalProperties",
            "a",
            "b c",
            "class",
            *EDGES,
        ]
        return {dice.choice(keys): anything(depth + 1) for _ in range(dice.randint(0, 5))}

    for _ in range(2000):
        parameters = {dice.choice(["a", "b", "others", "None", "x y", "ª", *EDGES]): anything() for _ in range(4)}
        schema: dict[str, Any] = {"properties": parameters, "required": anything(), "$defs": anything()}
        made = make(schema, output=dice.choice([None, schema]), description=dice.choice(EDGES))
        ast.parse(made.signature())
