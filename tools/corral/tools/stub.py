"""A tool as a typed Python function without a body, for models that write code."""

from __future__ import annotations

import keyword
from typing import Any, Final, cast

from corral.tools.shape import parameters, takes_null

__all__ = ["wraps_result", "write_stub"]

_TYPES: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
_MORE: Final = frozenset(("$ref", "allOf", "anyOf", "oneOf", "patternProperties"))
"""What may add properties to those that are listed."""
_MAX_DEPTH: Final = 5
_MAX_CHOICES: Final = 30


def write_stub(name: str, description: str, schema: dict[str, Any], output: dict[str, Any] | None) -> str:
    """`def name(parameters) -> type:` with a docstring; any schema at all gives a stub that parses.

    Parameters stand in the schema's order; a required one after an optional one is keyword-only. What Python can't
    spell as a parameter is named in the docstring and passed by `**`.
    """
    known = parameters(schema)
    spelled = {key: part for key, part in known.items() if _is_parameter(key)}
    written = [_write_parameter(key, part, required, schema) for key, (part, required) in spelled.items()]
    star = _first_required_after_optional([required for _, required in spelled.values()])
    if star is not None:
        written.insert(star, "*")
    if len(spelled) < len(known) or isinstance(schema.get("additionalProperties"), dict) or schema.keys() & _MORE:
        written.append("**others: Any")
    returns = "str" if output is None else _write_type(_unwrapped(output), output, 0)
    head = f"def {_identifier(name)}({', '.join(written)}) -> {returns}:"
    text = _docstring(description, known, spelled)
    return f'{head}\n    """{text}"""' if text else f"{head}\n    ..."


def wraps_result(output: dict[str, Any] | None) -> bool:
    """Whether results are objects with the one property `result`: so MCP's SDKs give what is no object."""
    properties: Any = output.get("properties") if output is not None else None
    return isinstance(properties, dict) and list(cast("dict[str, Any]", properties)) == ["result"]


def _unwrapped(output: dict[str, Any]) -> Any:
    return output["properties"]["result"] if wraps_result(output) else output


def _docstring(description: str, known: dict[str, tuple[Any, bool]], spelled: dict[str, Any]) -> str:
    lines = description.strip().splitlines()
    told = [(key, _remark(part)) for key, (part, _) in known.items()]
    told = [(key, text) for key, text in told if text or key not in spelled]
    if told:
        lines += ["", "Args:"]
        lines += [f"    {key if key in spelled else f'**{{{key!r}: ...}}'}: {text}" for key, text in told]
    text = "\n".join(f"    {line}" if line.strip() else "" for line in lines).strip()
    text = text.replace("\\", "\\\\").replace('"""', "'''").replace("\0", "")
    return text + "\n    " if "\n" in text or text.endswith('"') else text


def _remark(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    return " ".join(str(cast("dict[str, Any]", part).get("description") or "").split())


def _write_parameter(name: str, part: Any, required: bool, root: dict[str, Any]) -> str:
    kind = _write_type(part, root, 0)
    if required:
        return f"{name}: {kind}"
    default: Any = cast("dict[str, Any]", part).get("default") if isinstance(part, dict) else None
    if isinstance(default, str | int | float | bool | list | dict):
        shown = repr(cast("Any", default))
        if len(shown) <= 100:
            return f"{name}: {kind} = {shown}"
    optional = kind if takes_null(part) and ("None" in kind or kind == "Any") else f"{kind} | None"
    return f"{name}: {optional if kind != 'Any' else kind} = None"


def _write_type(part: Any, root: dict[str, Any], depth: int) -> str:
    if not isinstance(part, dict) or depth > _MAX_DEPTH:
        return "Any"
    schema = cast("dict[str, Any]", part)
    if isinstance(reference := schema.get("$ref"), str):
        return _write_type(_resolve(reference, root), root, depth + 1)
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list):
        return _write_literal(cast("list[Any]", choices))
    for key in ("anyOf", "oneOf"):
        if isinstance(parts := schema.get(key), list):
            return _union([_write_type(each, root, depth + 1) for each in cast("list[Any]", parts)])
    if isinstance(parts := schema.get("allOf"), list) and len(cast("list[Any]", parts)) == 1:
        return _write_type(parts[0], root, depth + 1)
    kinds = schema.get("type")
    if kinds is None and "properties" in schema:
        kinds = "object"
    listed = cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]
    return _union([_write_plain(kind, schema, root, depth) for kind in listed])


def _write_plain(kind: Any, schema: dict[str, Any], root: dict[str, Any], depth: int) -> str:
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list[{_write_type(schema['items'], root, depth + 1)}]"
    if kind == "object" and "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
        return f"dict[str, {_write_type(schema['additionalProperties'], root, depth + 1)}]"
    return _TYPES.get(kind, "Any") if isinstance(kind, str) else "Any"


def _write_literal(choices: list[Any]) -> str:
    plain = [choice for choice in choices if isinstance(choice, str | int | bool | None)]
    if not plain or len(plain) < len(choices) or len(plain) > _MAX_CHOICES:
        kinds = {type(choice).__name__ for choice in choices}
        return kinds.pop() if kinds and kinds <= {"str", "int"} and len(kinds) == 1 else "Any"
    return "None" if plain == [None] else f"Literal[{', '.join(map(repr, plain))}]"


def _union(kinds: list[str]) -> str:
    unique = list(dict.fromkeys(kinds))
    return "Any" if not unique or "Any" in unique else " | ".join(unique)


def _resolve(reference: str, root: dict[str, Any]) -> Any:
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


def _first_required_after_optional(required: list[bool]) -> int | None:
    optional = next((place for place, needed in enumerate(required) if not needed), len(required))
    return next((place for place in range(optional, len(required)) if required[place]), None)


def _is_parameter(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name != "others"


def _identifier(name: str) -> str:
    spelled = name.replace("-", "_")
    return f"{spelled}_" if keyword.iskeyword(spelled) else spelled
