"""Whether a call's arguments fit a JSON Schema, and what to tell the model when they don't."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from corral.tools.errors import BadArguments
from corral.tools.shape import compile_flat, parameters, takes_null

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

__all__ = ["Checker", "broken", "malformed", "name_arguments"]

_MAX_PROBLEMS: Final = 4
_MAX_VALUE: Final = 80


class Checker:
    """The validator of one tool's arguments, compiled at its first use.

    A flat object of plain types, which most schemas are, is first tried against a few type tests: what they accept,
    JSON Schema accepts, and what they don't is decided by jsonschema.
    """

    def __init__(self, tool: str, schema: dict[str, Any]) -> None:
        self._tool = tool
        self._schema = schema
        self._fits = compile_flat(schema)
        self._validator: Validator | None = None

    def check(self, arguments: Any) -> dict[str, Any]:
        if not isinstance(arguments, dict):
            raise BadArguments(self._tool, (f"expected an object of named arguments, not {_show(arguments)}",))
        named = cast("dict[str, Any]", arguments)
        if self._fits is not None and self._fits(named):
            return named
        if not all(isinstance(cast("Any", name), str) for name in named):
            raise BadArguments(self._tool, ("every argument needs a name that is a string",))
        problems = tuple(self._problems(named))
        if problems:
            raise BadArguments(self._tool, problems)
        return named

    def _problems(self, arguments: dict[str, Any]) -> Iterator[str]:
        from referencing.exceptions import Unresolvable  # keeps start-up light

        try:
            if self._validator is None:
                self._validator = _compile(self._schema)
            errors = cast("Iterable[ValidationError]", cast("Any", self._validator).iter_errors(arguments))
            # No more than are told: a hostile schema or a long list could have millions.
            for count, error in enumerate(errors):
                if count == _MAX_PROBLEMS:
                    yield "and more"
                    return
                yield from _describe(error)
        except Unresolvable as error:
            yield f"the tool's schema refers to {_shorten(str(error.ref))}, which is not in it; use another tool"
        except RecursionError:
            yield "the arguments or the tool's schema nest too deeply"
        except Exception as error:  # noqa: BLE001 - a foreign schema can make jsonschema raise anything
            yield f"the tool's own schema is broken: {_blame(error)}; use another tool"


def malformed(schema: dict[str, Any]) -> str | None:
    """Why `schema` is no JSON Schema, or None if it is one."""
    try:
        _dialect_of(schema)
    except RecursionError:
        return "it nests too deeply"
    except Exception as error:  # noqa: BLE001 - a foreign schema can make jsonschema raise anything
        return _blame(error)
    return None


def broken(schema: dict[str, Any]) -> str | None:
    """Why no call could ever fit `schema`, or None if it can be used."""
    if compile_flat(schema) is not None:
        return None
    if (fault := malformed(schema)) is not None:
        return fault
    root = schema.get("type", "object")
    if root != "object" and not (isinstance(root, list) and "object" in root):
        return f"its arguments are of type {_show(root)}, not an object"
    return None


def name_arguments(tool: str, schema: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, in the schema's order of properties."""
    known = parameters(schema)
    names = list(known)
    if len(args) > len(names):
        raise BadArguments(tool, (f"it takes at most {len(names)} arguments, not {len(args)}",))
    twice = [name for name in names[: len(args)] if name in kwargs]
    if twice:
        raise BadArguments(tool, tuple(f"argument {name!r} was given twice" for name in twice))

    def means_absent(name: str) -> bool:
        part, required = known.get(name, (True, False))
        return not required and not takes_null(part)

    named = dict(zip(names, args, strict=False)) | kwargs
    return {name: value for name, value in named.items() if value is not None or not means_absent(name)}


def _dialect_of(schema: dict[str, Any]) -> Any:
    """The validator's class of the schema, which fits its metaschema."""
    from jsonschema import FormatChecker, validators  # keeps start-up light

    # MCP's default dialect is 2020-12 (specification of 2025-11-25, SEP-1613).
    kind: Any = validators.validator_for(cast("Any", schema), default=validators.Draft202012Validator)
    # Without formats: a "regex" is one of ECMA-262, not of Python.
    kind.check_schema(schema, format_checker=FormatChecker(formats=()))
    return kind


def _compile(schema: dict[str, Any]) -> Validator:
    from jsonschema import validators  # keeps start-up light
    from jsonschema_specifications import REGISTRY

    kind = _dialect_of(schema)
    kind = cast("Any", validators).extend(kind, {"pattern": partial(_check_pattern, kind.VALIDATORS["pattern"])})
    # A registry that can retrieve nothing: jsonschema's own would fetch remote references.
    return kind(schema, registry=REGISTRY)


def _check_pattern(original: Any, *args: Any) -> Iterator[ValidationError]:
    try:
        yield from original(*args)
    except re.error:
        return  # ECMA-262 syntax that Python has not: the source will judge the value itself


def _blame(error: Exception) -> str:
    return _shorten(str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}")


def _describe(error: ValidationError) -> Iterator[str]:
    where = _place(error)
    value = cast("Any", error.instance)
    expected = cast("Any", error.validator_value)
    match error.validator:
        case "required" if isinstance(expected, list):
            missing = [name for name in cast("list[str]", expected) if name not in value]
            # jsonschema gives one error for each missing name; the name stands only in its message.
            name = next((name for name in missing if error.message.startswith(repr(name))), missing[0])
            yield f"missing argument {name!r}" if not where else f"{where}: missing {name!r}"
        case "additionalProperties" if expected is False and "patternProperties" not in cast("Any", error.schema):
            known = list(cast("dict[str, Any]", cast("Any", error.schema).get("properties") or {}))
            for name in [name for name in value if name not in known][:_MAX_PROBLEMS]:
                yield f"{where + ': ' if where else ''}unknown argument {name!r}{_hint(str(name), known)}"
        case "type":
            kinds = [expected] if isinstance(expected, str) else cast("list[str]", expected)
            yield f"{where or 'the arguments'} must be {' or '.join(kinds)}, not {_show(value)}"
        case "enum":
            choices = ", ".join(_show(choice) for choice in cast("list[Any]", expected)[:20])
            yield f"{where or 'the arguments'} must be one of {choices}, not {_show(value)}"
        case "anyOf" | "oneOf":
            yield f"{where or 'the call'} fits {_miscounted(error)}: {_alternatives(error)}"
        case _:
            yield f"{where or 'the arguments'}: {_shorten(error.message)}"


def _miscounted(error: ValidationError) -> str:
    return "none of the alternatives" if error.context else "more than one alternative"


def _alternatives(error: ValidationError) -> str:
    told: dict[str, None] = {}
    for inner in error.context or []:
        for problem in _describe(inner):
            told.setdefault(problem)
    return _shorten(" / ".join(list(told)[:_MAX_PROBLEMS]) or error.message, 300)


def _place(error: ValidationError) -> str:
    path = list(error.absolute_path)
    if not path:
        return ""
    rest = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[1:])
    return f"argument '{path[0]}{rest}'"


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it takes {', '.join(map(repr, known[:20]))}" if known else "; it takes none"


def _show(value: Any) -> str:
    try:
        return _shorten(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _shorten(text: str, length: int = _MAX_VALUE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
