"""Simple readings of a JSON Schema: type tests for flat objects, and whether a value may be null."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

__all__ = ["compile_flat", "parameters", "takes_null"]

_REMARKS: Final = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment")
)
_DIALECTS: Final = frozenset(
    ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#")
)
# Exact classes: bool is no integer in JSON Schema, and a float such as 1.0, which is one, is left to jsonschema.
_CLASSES: Final[dict[str, frozenset[type]]] = {
    "string": frozenset((str,)),
    "integer": frozenset((int,)),
    "number": frozenset((int, float)),
    "boolean": frozenset((bool,)),
    "null": frozenset((type(None),)),
}

ValueTest = Callable[[Any], bool]


def compile_flat(schema: dict[str, Any]) -> Callable[[dict[str, Any]], bool] | None:
    """A quick test for an object schema that says only plain types, enums of strings and lists of these.

    The test is one-sided: True means that JSON Schema accepts the object too, False means nothing. None: the schema
    says more than that.
    """
    if not schema.keys() <= {"type", "properties", "required", "additionalProperties", "$schema", *_REMARKS}:
        return None
    additional = schema.get("additionalProperties", True)
    if schema.get("type") != "object" or not isinstance(additional, bool):
        return None
    dialect = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if not isinstance(dialect, str) or dialect not in _DIALECTS:
        return None
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not _is_names(required):
        return None
    try:
        tests = {name: _compile_value(part) for name, part in cast("dict[str, Any]", properties).items()}
    except RecursionError:
        return None
    if any(test is None for test in tests.values()):
        return None
    return _object_test(cast("dict[str, ValueTest]", tests), tuple(cast("list[str]", required)), additional)


def parameters(schema: dict[str, Any]) -> dict[str, tuple[Any, bool]]:
    """The schema's properties in their order, each with whether it is required; none where the schema is odd."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    listed = schema.get("required")
    required = cast("list[Any]", listed) if isinstance(listed, list) else []
    return {name: (part, name in required) for name, part in cast("dict[str, Any]", properties).items()}


def takes_null(schema: Any) -> bool:
    """Whether null might fit; True where that is not plain from `type` and `enum`."""
    if not isinstance(schema, dict):
        return True
    part = cast("dict[str, Any]", schema)
    if isinstance(enum := part.get("enum"), list):
        return None in enum
    kinds = part.get("type")
    return kinds is None or kinds == "null" or (isinstance(kinds, list) and "null" in kinds)


def _object_test(
    tests: dict[str, ValueTest], required: tuple[str, ...], additional: bool
) -> Callable[[dict[str, Any]], bool]:
    def fits(arguments: dict[str, Any]) -> bool:
        for name in required:
            if name not in arguments:
                return False
        for name, value in arguments.items():
            test = tests.get(name)
            if test is None:
                if not additional or type(name) is not str:
                    return False
            elif not test(value):
                return False
        return True

    return fits


def _compile_value(schema: Any) -> ValueTest | None:
    if not isinstance(schema, dict):
        return None
    part = cast("dict[str, Any]", schema)
    said = part.keys() - _REMARKS
    if said == {"anyOf"} and isinstance(part["anyOf"], list):
        return _compile_any(cast("list[Any]", part["anyOf"]))
    if said <= {"type", "enum"} and isinstance(enum := part.get("enum"), list):
        return _compile_enum(part.get("type", "string"), cast("list[Any]", enum))
    if part.get("type") == "array" and said == {"type", "items"}:
        return _compile_list(part["items"])
    return _compile_type(part["type"]) if said == {"type"} else None


def _compile_type(kinds: Any) -> ValueTest | None:
    listed = cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]
    if not listed or not all(isinstance(kind, str) and kind in _CLASSES for kind in listed):
        return None
    if len(set(listed)) != len(listed):
        return None  # the metaschema wants them unique
    classes = frozenset[type]().union(*(_CLASSES[kind] for kind in listed))
    return lambda value: type(value) in classes


def _compile_enum(kind: Any, choices: list[Any]) -> ValueTest | None:
    if kind != "string" or not choices or not _is_names(choices):
        return None
    allowed = frozenset(cast("list[str]", choices))
    return lambda value: type(value) is str and value in allowed


def _compile_list(items: Any) -> ValueTest | None:
    test = _compile_value(items)
    return None if test is None else lambda value: type(value) is list and all(map(test, cast("list[Any]", value)))


def _compile_any(parts: list[Any]) -> ValueTest | None:
    tests = [_compile_value(part) for part in parts]
    if not tests or any(test is None for test in tests):
        return None
    known = cast("list[ValueTest]", tests)
    return lambda value: any(test(value) for test in known)


def _is_names(values: Any) -> bool:
    """Whether it is a list of unequal strings, as the metaschema wants of `required`."""
    if not isinstance(values, list):
        return False
    listed = cast("list[Any]", values)
    return all(isinstance(value, str) for value in listed) and len(set(listed)) == len(listed)
