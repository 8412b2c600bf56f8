"""Reading a policy from YAML or TOML, with the line of whatever is wrong."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from corral.policy.errors import PolicyFileError

__all__ = ["read"]

ModelT = TypeVar("ModelT", bound=BaseModel)
Place = tuple[str | int, ...]
"""Where a value stands in a file: keys and indexes from the top."""


def read(path: Path, model: type[ModelT]) -> ModelT:
    """`path` as a `model`.

    Raises:
        PolicyFileError: It can't be read, parsed or validated.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PolicyFileError(path, None, f"the file can't be read: {problem}") from error
    match path.suffix:
        case ".yaml" | ".yml":
            data, lines = _parse_yaml(path, text)
        case ".toml":
            data, lines = _parse_toml(path, text)
        case _:
            raise PolicyFileError(path, None, "the name must end in .yaml, .yml or .toml")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(path, model, error, lines) from None


def _explain(path: Path, model: type[BaseModel], error: ValidationError, lines: dict[Place, int]) -> PolicyFileError:
    """All that is wrong, unknown keys first: what else is wrong often follows from them."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    said: dict[tuple[bool, int, str], None] = {}  # of a union, pydantic tells one mistake several times
    for one in found:
        place: Place = one["loc"]
        name = ".".join(str(part) for part in place) or "the file"
        problem = f"{name}: {one['msg'].removeprefix('Value error, ')}"
        if one["type"] == "extra_forbidden":
            problem = f"unknown key {name}{_did_you_mean(model, place)}"
        while place and place not in lines:
            place = place[:-1]
        said[one["type"] != "extra_forbidden", lines.get(place, 0), problem] = None
    (line, problem), *more = [(line or None, problem) for _, line, problem in sorted(said)]
    return PolicyFileError(path, line, problem, tuple(more))


def _did_you_mean(model: type[BaseModel], place: Place) -> str:
    owner: type[BaseModel] | None = model
    for part in place[:-1]:
        if isinstance(part, str) and owner is not None:
            field = owner.model_fields.get(part)
            owner = _model_in(field.annotation) if field is not None else None
    near = difflib.get_close_matches(str(place[-1]), owner.model_fields, n=1) if owner is not None else []
    return f"; did you mean {near[0]}?" if near else ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _parse_yaml(path: Path, text: str) -> tuple[Any, dict[Place, int]]:
    try:
        _refuse_aliases(path, text)
        node: yaml.Node | None = cast("Any", yaml).compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except RecursionError:
        raise PolicyFileError(path, None, "this is not YAML that can be read: it is nested too deep") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise PolicyFileError(path, line, f"this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise PolicyFileError(path, None, f"this is not YAML: {error}") from None
    lines: dict[Place, int] = {}
    if node is not None:
        for place, mapping in _mappings(node, ()):
            seen: set[str] = set()
            for key, value in mapping.value:
                name = str(key.value)
                if name in seen:
                    raise PolicyFileError(path, key.start_mark.line + 1, f"the key {name!r} stands here twice")
                seen.add(name)
                lines[(*place, name)] = key.start_mark.line + 1
                if isinstance(value, yaml.SequenceNode):
                    for index, item in enumerate(value.value):
                        lines[(*place, name, index)] = item.start_mark.line + 1
    return ({} if data is None else data), lines


def _refuse_aliases(path: Path, text: str) -> None:
    """An alias may stand for itself or for a million copies, and hides from a reader what is in force."""
    for event in cast("Any", yaml).parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = cast("Any", event).start_mark.line + 1
            raise PolicyFileError(path, line, "YAML aliases are not taken here; write the value out")


def _mappings(node: yaml.Node, place: Place) -> Iterator[tuple[Place, yaml.MappingNode]]:
    if isinstance(node, yaml.MappingNode):
        yield place, node
        for key, value in node.value:
            yield from _mappings(value, (*place, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(cast("list[yaml.Node]", node.value)):
            yield from _mappings(item, (*place, index))


def _parse_toml(path: Path, text: str) -> tuple[Any, dict[Place, int]]:
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise PolicyFileError(path, None, "this is not TOML that can be read: it is nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else None
        raise PolicyFileError(path, line, f"this is not TOML: {error}") from None
    return data, _toml_lines(text)


_TOML_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-\"]+)\s*\]")
_TOML_KEY = re.compile(r"^\s*([\w.\-\"]+)\s*=")


def _toml_lines(text: str) -> dict[Place, int]:
    """Lines of headers and plain keys; tomllib keeps no positions, and what is missed falls back to its table."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TOML_HEADER.match(line):
            table = ()
            names = header[2].replace('"', "").split(".")
            for depth, name in enumerate(names, 1):
                table = (*table, name)
                if depth == len(names) and header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                if table in counts:
                    table = (*table, counts[table])
            lines[table] = number
        elif key := _TOML_KEY.match(line):
            lines[(*table, *key[1].replace('"', "").split("."))] = number
    return lines
