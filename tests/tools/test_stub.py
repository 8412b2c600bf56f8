"""Stubs for models that write code."""

from __future__ import annotations

import ast
import random
import time
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


COW = {
    "type": "object",
    "description": "A cow.",
    "properties": {
        "name": {"type": "string"},
        "kilos": {"type": "number", "description": "Her weight in kilograms."},
        "colour": {"$ref": "#/$defs/Colour", "default": "red"},
        "calves": {"type": "array", "items": {"$ref": "#/$defs/Cow"}},
        "born": {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}, "required": ["at"]},
    },
    "required": ["name", "kilos", "born"],
}


def test_the_keys_of_dicts_are_told_with_their_types_and_units() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "cow": {"$ref": "#/$defs/Cow", "description": "Whom to weigh."},
            "more": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Field"}}, {"type": "null"}]},
            "when": {"type": "string", "format": "date"},
        },
        "required": ["cow"],
        "$defs": {
            "Cow": COW,
            "Colour": {"enum": ["red", "black"]},
            "Field": {"type": "object", "properties": {"width": {"type": "number", "description": "metres"}}},
        },
    }
    stub = make(schema).signature()
    assert "def f(cow: dict, more: list[dict] | None = None, when: str | None = None)" in stub
    assert "cow: Whom to weigh.; keys name: str, kilos: float (Her weight in kilograms.), colour: Literal['red'" in stub
    assert "born: dict (keys at: str (date-time))" in stub
    assert "        more: each with keys width: float | None = None (metres)\n" in stub
    assert "        when: date\n" in stub
    assert len(stub) < 2500
    output = {**schema["$defs"]["Field"]}
    told = 'def f() -> dict:\n    """Returns: keys width: float | None = None (metres)"""'
    assert make({"type": "object"}, output=output).signature() == told


def test_a_schema_that_names_itself_a_thousand_times_is_told_quickly() -> None:
    names = {f"a{number}": {"$ref": "#/$defs/Many"} for number in range(1000)}
    schema = {"type": "object", "properties": names, "$defs": {"Many": {"type": "object", "properties": names}}}
    start = time.perf_counter()
    make(schema).signature()
    assert time.perf_counter() - start < 5


def test_a_description_that_is_indented_as_in_its_source_is_not_indented_twice() -> None:
    stub = make({"type": "object"}, description="Climb.\n\n        Args:\n            a: metres\n    ").signature()
    assert stub == 'def f() -> str:\n    """Climb.\n\n    Args:\n        a: metres\n    """'


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
