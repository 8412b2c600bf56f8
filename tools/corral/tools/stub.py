"""A tool as a typed Python function without a body, for models that write code."""

from __future__ import annotations

import inspect
import keyword
from typing import Any, Final, cast

from corral.tools.shape import parameters
from corral.tools.stub_types import MAX_CHOICES, MAX_DEPTH, resolve, write_parameter, write_type

__all__ = ["wraps_result", "write_stub"]

_MORE: Final = frozenset(("$ref", "allOf", "anyOf", "oneOf", "patternProperties"))
"""What may add properties to those that are listed."""
_MAX_NESTED: Final = 1
_MAX_KEYS: Final = 1500
"""Characters that are told of the keys of one parameter."""
_FORMATS: Final = frozenset(
    ("date-time", "date", "time", "duration", "email", "uri", "uuid", "hostname", "ipv4", "ipv6", "byte", "binary")
)


def write_stub(name: str, description: str, schema: dict[str, Any], output: dict[str, Any] | None) -> str:
    """`def name(parameters) -> type:` with a docstring; any schema at all gives a stub that parses.

    Parameters stand in the schema's order; a required one after an optional one is keyword-only. What Python can't
    spell as a parameter is named in the docstring and passed by `**`.
    """
    known = parameters(schema)
    spelled = {key: part for key, part in known.items() if _is_parameter(key)}
    written = [write_parameter(key, part, required, schema) for key, (part, required) in spelled.items()]
    star = _first_required_after_optional([required for _, required in spelled.values()])
    if star is not None:
        written.insert(star, "*")
    if len(spelled) < len(known) or isinstance(schema.get("additionalProperties"), dict) or schema.keys() & _MORE:
        written.append("**others: Any")
    returns = "str" if output is None else write_type(_unwrapped(output), output, 0)
    head = f"def {_identifier(name)}({', '.join(written)}) -> {returns}:"
    gives = "" if output is None else _write_keys(_unwrapped(output), output, 0)
    text = _docstring(description, known, spelled, schema, gives)
    return f'{head}\n    """{text}"""' if text else f"{head}\n    ..."


def wraps_result(output: dict[str, Any] | None) -> bool:
    """Whether results are objects with the one property `result`: so MCP's SDKs give what is no object."""
    properties: Any = output.get("properties") if output is not None else None
    return isinstance(properties, dict) and list(cast("dict[str, Any]", properties)) == ["result"]


def _unwrapped(output: dict[str, Any]) -> Any:
    return output["properties"]["result"] if wraps_result(output) else output


def _docstring(
    description: str, known: dict[str, tuple[Any, bool]], spelled: dict[str, Any], root: dict[str, Any], gives: str
) -> str:
    lines = inspect.cleandoc(description).splitlines()
    parts = [(key, part) for key, (part, _) in known.items()]
    told = [(key, _about(part, root)) for key, part in parts[:MAX_CHOICES]]
    told += [(key, _remark(part)) for key, part in parts[MAX_CHOICES:]]
    told = [(key, text) for key, text in told if text or key not in spelled]
    if told:
        lines += ["", "Args:"]
        lines += [f"    {key if key in spelled else f'**{{{key!r}: ...}}'}: {text}" for key, text in told]
    if gives:
        lines += ["", f"Returns: {gives}"]
    text = "\n".join(f"    {line}" if line.strip() else "" for line in lines).strip()
    text = text.replace("\\", "\\\\").replace('"""', "'''").replace("\0", "")
    return text + "\n    " if "\n" in text or text.endswith('"') else text


def _about(part: Any, root: dict[str, Any]) -> str:
    """What a type can't say: the remark, the format of a text, the keys of a dict."""
    keys = _write_keys(part, root, 0)
    return "; ".join(text for text in (_remark(part), keys) if text)


def _remark(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    schema = cast("dict[str, Any]", part)
    said = " ".join(str(schema.get("description") or "").split())
    kind = schema.get("format")
    if not isinstance(kind, str) or kind not in _FORMATS or kind in said.lower():
        return said
    return f"{said} ({kind})" if said else kind


def _write_keys(part: Any, root: dict[str, Any], depth: int) -> str:
    """What the dicts of a parameter have in them, in the form of parameters: "keys width: float, unit: str = 'm'"."""
    found, is_list = _find_object(part, root)
    told, left = list[str](), _MAX_KEYS
    for key, (each, required) in list(parameters(found).items())[:MAX_CHOICES]:
        told.append(_write_key(key, each, required, root, depth))
        left -= len(told[-1])
        if left < 0:
            told[-1] = "…"
            break
    return f"{'each with keys' if is_list else 'keys'} {', '.join(told)}" if told else ""


def _find_object(part: Any, root: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema of a dict that a value is, or that a list has in it; an empty one if it is anything else."""
    is_list = False
    for _ in range(MAX_DEPTH):
        if not isinstance(part, dict):
            break
        schema = cast("dict[str, Any]", part)
        others = [each for each in _alternatives(schema) if each != {"type": "null"}]
        if isinstance(reference := schema.get("$ref"), str):
            part = resolve(reference, root)
        elif isinstance(schema.get("properties"), dict):
            return schema, is_list
        elif isinstance(schema.get("items"), dict):
            part, is_list = schema["items"], True
        else:
            part = others[0] if len(others) == 1 else None
    return {}, False


def _alternatives(schema: dict[str, Any]) -> list[Any]:
    found = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list)), None)
    return [] if found is None else cast("list[Any]", found)


def _write_key(key: str, part: Any, required: bool, root: dict[str, Any], depth: int) -> str:
    written = write_parameter(key, part, required, root)
    inner = _write_keys(part, root, depth + 1) if depth < _MAX_NESTED else ""
    about = "; ".join(text for text in (_remark(part), inner) if text)
    return f"{written} ({about})" if about else written


def _first_required_after_optional(required: list[bool]) -> int | None:
    optional = next((place for place, needed in enumerate(required) if not needed), len(required))
    return next((place for place in range(optional, len(required)) if required[place]), None)


def _is_parameter(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name != "others"


def _identifier(name: str) -> str:
    spelled = name.replace("-", "_")
    return f"{spelled}_" if keyword.iskeyword(spelled) else spelled
