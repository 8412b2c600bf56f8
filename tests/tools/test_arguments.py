"""Checking arguments: what fits, and the sentence for what does not."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from corral.tools import BadArguments, Observation, Tool
from corral.tools.arguments import broken
from corral.tools.shape import compile_flat


def make(schema: dict[str, Any]) -> Tool:
    async def run(arguments: dict[str, Any]) -> Observation:
        return Observation("")

    return Tool("book", "tool:hotel/book", run, input_schema=schema)


ROOM = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "nights": {"type": "integer", "minimum": 1},
        "view": {"enum": ["sea", "hill"]},
        "guests": {"type": "array", "items": {"type": "object", "properties": {"age": {"type": "integer"}}}},
    },
    "required": ["city", "nights"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({}, "missing argument 'city'; missing argument 'nights'"),
        ({"city": 3, "nights": 1}, "argument 'city' must be string, not 3"),
        ({"city": "Rom", "nights": "2"}, "argument 'nights' must be integer, not \"2\""),
        ({"city": "Rom", "nights": True}, "argument 'nights' must be integer, not true"),
        ({"city": "Rom", "nights": 0}, "argument 'nights': 0 is less than the minimum of 1"),
        ({"city": "Rom", "nights": 1, "view": "lake"}, 'argument \'view\' must be one of "sea", "hill", not "lake"'),
        ({"city": "Rom", "nights": 1, "nihgts": 1}, "unknown argument 'nihgts'; did you mean 'nights'?"),
        ({"city": "Rom", "nights": 1, "x": 1}, "unknown argument 'x'; it takes 'city', 'nights', 'view', 'guests'"),
        ({"city": "Rom", "nights": 1, "guests": [{"age": "x"}]}, "argument 'guests[0].age' must be integer, not \"x\""),
        (
            '{"city": "Rom", "nights": 1}',
            r'expected an object of named arguments, not "{\"city\": \"Rom\", \"nights\": 1}"',
        ),
        (None, "expected an object of named arguments, not null"),
        ({1: 2}, "every argument needs a name that is a string"),
        ([1], "expected an object of named arguments, not [1]"),
    ],
)
def test_the_message_says_what_to_mend(arguments: Any, problems: str) -> None:
    with pytest.raises(BadArguments) as caught:
        make(ROOM).check(arguments)
    assert str(caught.value) == f"bad arguments for book: {problems}"


def test_a_message_stays_short_however_much_is_wrong() -> None:
    with pytest.raises(BadArguments) as caught:
        make(ROOM).check({"city": "Rom", "nights": 1, "guests": ["x" * 10_000] * 1000})
    assert len(str(caught.value)) < 700
    assert str(caught.value).endswith("and more")


NODE = {"type": "object", "properties": {"v": {"type": ["integer", "string"]}, "next": {"$ref": "#/definitions/node"}}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"properties": {"n": {"$ref": "#/definitions/node"}}, "definitions": {"node": NODE}},
            {"n": {"next": {"v": 1}}},
            {"n": {"next": {"v": []}}},
        ),
        ({"properties": {"n": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "null"}}}, {"n": None}, {"n": 1}),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {"a": 1, "b": 1}),
        ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": None}, {"a": 1}),
        ({"properties": {"a": False}}, {}, {"a": 1}),
        ({"propertyNames": {"pattern": "^x"}}, {"x1": 1}, {"y": 1}),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "properties": {"a": {"minimum": 1, "exclusiveMinimum": True}},
            },
            {"a": 2},
            {"a": 1},
        ),
    ],
)
def test_schemas_mean_what_json_schema_says(schema: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> None:
    checked = make({"type": "object", **schema})
    assert checked.check(good) is good
    with pytest.raises(BadArguments):
        checked.check(bad)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}, "refers to http://127.0.0.1:9/x.json"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, "refers to /nowhere"),
        ({"properties": {"a": {"type": "strnig"}}}, "schema is broken"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "nest too deeply"),
    ],
)
def test_a_schema_that_cannot_be_used_says_so(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadArguments, match=problem):
        make({"type": "object", **schema}).check({"a": 1})


def test_a_pattern_that_python_cannot_read_is_left_to_the_server() -> None:
    book = make({"type": "object", "properties": {"a": {"type": "string", "pattern": r"^\p{Lu}"}}})
    assert book.check({"a": "x"}) == {"a": "x"}
    with pytest.raises(BadArguments, match="must be string"):
        book.check({"a": 1})


def test_no_schema_makes_the_check_crash() -> None:
    dice = random.Random(11)
    keys = [
        "type",
        "properties",
        "items",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$schema",
        "$id",
        "required",
        "pattern",
        "patternProperties",
        "additionalProperties",
        "minimum",
        "a",
        "$defs",
        "dependentRequired",
    ]

    def anything(depth: int = 0) -> Any:
        if depth > 3 or dice.random() < 0.3:
            return dice.choice(
                [None, True, 1, "object", "string", "#", "#/properties/a", "#/$defs/a", "(", "http://[", "a"]
            )
        if dice.random() < 0.2:
            return [anything(depth + 1) for _ in range(dice.randint(0, 3))]
        return {dice.choice(keys): anything(depth + 1) for _ in range(dice.randint(0, 4))}

    for _ in range(1500):
        schema = {dice.choice(keys): anything() for _ in range(4)}
        assert broken(schema) is None or broken(schema)
        with contextlib.suppress(BadArguments):
            make(schema).check({"a": anything(2), "b": 1})
        with contextlib.suppress(BadArguments):
            make(schema).positional([1], {"b": 2})


def random_schema(dice: random.Random) -> dict[str, Any]:
    def value(depth: int = 0) -> dict[str, Any]:
        kind = dice.choice(["string", "integer", "number", "boolean", "null"])
        other = dice.choice(["string", "integer", "null"])
        choices: list[dict[str, Any]] = [
            {"type": kind},
            {"type": [kind, other] if kind != other else [kind], "description": "remarks"},
            {"enum": ["a", "b"]},
            {"type": "string", "enum": ["a"], "default": "a"},
            {"type": "integer", "minimum": 1},
            {"const": 1},
        ]
        if depth < 2:
            choices += [
                {"type": "array", "items": value(depth + 1)},
                {"anyOf": [value(depth + 1), value(depth + 1)]},
                {"type": "object", "properties": {"x": value(depth + 1)}},
            ]
        return dice.choice(choices)

    names = dice.sample("abcd", dice.randint(0, 3))
    schema: dict[str, Any] = {"type": "object", "properties": {name: value() for name in names}}
    schema["required"] = [name for name in names if dice.random() < 0.4]
    if dice.random() < 0.5:
        schema["additionalProperties"] = dice.random() < 0.5
    return schema


def random_value(dice: random.Random, depth: int = 0) -> Any:
    plain = dice.choice(["a", "b", "", 0, 1, -1, 1.0, 1.5, True, False, None, 10**30, float("inf")])
    if depth < 2 and dice.random() < 0.3:
        return dice.choice([[random_value(dice, depth + 1)], [], {"x": random_value(dice, depth + 1)}, [plain, plain]])
    return plain


def test_the_quick_check_decides_as_jsonschema_does() -> None:
    dice = random.Random(20261120)
    quick = accepted = 0
    for _ in range(400):
        schema = random_schema(dice)
        reference = Draft202012Validator(schema)
        fits = compile_flat(schema)
        quick += fits is not None
        tried = make(schema)
        for _ in range(8):
            arguments = {name: random_value(dice) for name in dice.sample("abcde", dice.randint(0, 3))}
            expected = reference.is_valid(arguments)
            if fits is not None and fits(arguments):
                accepted += 1
                assert expected, (schema, arguments)
            try:
                tried.check(arguments)
            except BadArguments:
                assert not expected, (schema, arguments)
            else:
                assert expected, (schema, arguments)
    assert quick > 100
    assert accepted > 100


def test_positional_arguments_take_the_schemas_order() -> None:
    book = make(ROOM)
    assert book.positional(["Rom", 2], {"view": "sea"}) == {"city": "Rom", "nights": 2, "view": "sea"}
    assert book.positional([], {"odd": None}) == {"odd": None}
    assert make({"type": "object"}).positional([], {"a": 1}) == {"a": 1}


def test_an_optional_argument_given_as_none_is_left_out() -> None:
    book = make(ROOM)
    assert book.positional(["Rom", None], {"guests": None, "view": None}) == {"city": "Rom", "nights": None}
    nullable = make({"type": "object", "properties": {"a": {"type": ["string", "null"]}}})
    assert nullable.positional([None], {}) == {"a": None}


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ([1, 2, 3, 4, 5], {}, "it takes at most 4 arguments, not 5"),
        (["Rom"], {"city": "Bari"}, "argument 'city' was given twice"),
    ],
)
def test_wrong_positional_calls_are_told(args: list[Any], kwargs: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadArguments, match=problem):
        make(ROOM).positional(args, kwargs)
