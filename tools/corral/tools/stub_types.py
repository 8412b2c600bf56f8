"""JSON Schemas as Python types, as near as these come."""

from __future__ import annotations

from typing import Any, Final, cast

from corral.tools.shape import takes_null

__all__ = ["MAX_CHOICES", "MAX_DEPTH", "resolve", "write_parameter", "write_type"]

_TYPES: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
MAX_DEPTH: Final = 5
MAX_CHOICES: Final = 30


def write_parameter(name: str, part: Any, required: bool, root: dict[str, Any]) -> str:
    """`name: type = default`; an optional one without a default takes None."""
    kind = write_type(part, root, 0)
    if required:
        return f"{name}: {kind}"
    default: Any = cast("dict[str, Any]", part).get("default") if isinstance(part, dict) else None
    if isinstance(default, str | int | float | bool | list | dict):
        shown = repr(cast("Any", default))
        if len(shown) <= 100:
            return f"{name}: {kind} = {shown}"
    optional = kind if takes_null(part) and ("None" in kind or kind == "Any") else f"{kind} | None"
    return f"{name}: {optional if kind != 'Any' else kind} = None"


def write_type(part: Any, root: dict[str, Any], depth: int = 0) -> str:
    """The nearest type of Python; `root` is the schema in which references are looked up."""
    if not isinstance(part, dict) or depth > MAX_DEPTH:
        return "Any"
    schema = cast("dict[str, Any]", part)
    if isinstance(reference := schema.get("$ref"), str):
        return write_type(resolve(reference, root), root, depth + 1)
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list):
        return _write_literal(cast("list[Any]", choices))
    for key in ("anyOf", "oneOf"):
        if isinstance(parts := schema.get(key), list):
            return _union([write_type(each, root, depth + 1) for each in cast("list[Any]", parts)])
    if isinstance(parts := schema.get("allOf"), list) and len(cast("list[Any]", parts)) == 1:
        return write_type(parts[0], root, depth + 1)
    kinds = schema.get("type")
    if kinds is None and "properties" in schema:
        kinds = "object"
    listed = cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]
    return _union([_write_plain(kind, schema, root, depth) for kind in listed])


def _write_plain(kind: Any, schema: dict[str, Any], root: dict[str, Any], depth: int) -> str:
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list[{write_type(schema['items'], root, depth + 1)}]"
    if kind == "object" and "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
        return f"dict[str, {write_type(schema['additionalProperties'], root, depth + 1)}]"
    return _TYPES.get(kind, "Any") if isinstance(kind, str) else "Any"


def _write_literal(choices: list[Any]) -> str:
    plain = [choice for choice in choices if isinstance(choice, str | int | bool | None)]
    if not plain or len(plain) < len(choices) or len(plain) > MAX_CHOICES:
        kinds = {type(choice).__name__ for choice in choices}
        return kinds.pop() if kinds and kinds <= {"str", "int"} and len(kinds) == 1 else "Any"
    return "None" if plain == [None] else f"Literal[{', '.join(map(repr, plain))}]"


def _union(kinds: list[str]) -> str:
    unique = list(dict.fromkeys(kinds))
    return "Any" if not unique or "Any" in unique else " | ".join(unique)


def resolve(reference: str, root: dict[str, Any]) -> Any:
    """What a local JSON pointer names; None for any other reference."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(key)
    return found
