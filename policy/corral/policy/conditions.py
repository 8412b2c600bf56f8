"""The closed vocabulary of conditions.

    read_only: true                  the action was declared to change nothing, by someone the user trusts
    args.NAME: VALUE                 the argument equals VALUE
    args.NAME: {OPERATOR: OPERAND}   one or more of
        equals: VALUE    one_of: [VALUE, ...]    min: NUMBER    max: NUMBER    max_length: NUMBER
        under: FOLDER    an absolute path that stays in the folder when "." and ".." are resolved as text
        host: [NAME, ...] a URL whose host is one of the names ("*.example.org" for the hosts below it)
    labels.NAME: user|directory|attested|untrusted    the argument's integrity is at least this

A condition that can't be evaluated (no such argument, a wrong type, a URL that does not parse) raises `Undecidable`:
an allow rule then does not match, and a deny or ask rule denies.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from corral.policy.action import Action
from corral.policy.label import Integrity, Label

__all__ = ["Condition", "Undecidable", "parse_condition"]

Condition = Callable[[Action], bool]


class Undecidable(Exception):
    """A condition could not be evaluated for this action; the policy fails closed."""


def parse_condition(key: str, value: Any) -> Condition:
    """The test that `key: value` stands for.

    Raises:
        ValueError: The key, operator or operand is not in the vocabulary; the message says what is.
    """
    subject, _, name = key.partition(".")
    if key == "read_only" and isinstance(value, bool):
        return lambda action: action.read_only is value
    if subject == "args" and name:
        return _parse_argument(name, value)
    if subject == "labels" and name:
        return _parse_label(name, value)
    raise ValueError(
        f"unknown condition {key!r}: {value!r}; known are read_only: true|false, args.NAME and labels.NAME"
    )


def _parse_argument(name: str, value: Any) -> Condition:
    operators = cast("dict[str, Any]", value) if isinstance(value, dict) else {"equals": value}
    if not operators:
        raise ValueError(f"condition args.{name} names no operator")
    tests = [_parse_operator(name, operator, operand) for operator, operand in operators.items()]

    def holds(action: Action) -> bool:
        if name not in action.arguments:
            raise Undecidable(f"the call has no argument {name!r}")
        argument = action.arguments[name]
        return all(test(argument) for test in tests)

    return holds


def _parse_operator(name: str, operator: str, operand: Any) -> Callable[[Any], bool]:
    make = _OPERATORS.get(operator)
    if make is None:
        raise ValueError(f"unknown operator {operator!r} on args.{name}; known are {', '.join(sorted(_OPERATORS))}")
    try:
        return make(operand)
    except TypeError as error:
        raise ValueError(f"operator {operator!r} on args.{name} takes {error}, not {operand!r}") from None


def _parse_label(name: str, value: Any) -> Condition:
    try:
        floor = Integrity[str(value).upper()]
    except KeyError:
        known = ", ".join(level.name.lower() for level in reversed(Integrity))
        raise ValueError(f"labels.{name} takes one of {known}, not {value!r}") from None
    return lambda action: action.labels.get(name, _UNKNOWN).integrity >= floor


_UNKNOWN = Label()


def _equals(operand: Any) -> Callable[[Any], bool]:
    return lambda argument: type(argument) is type(operand) and argument == operand


def _one_of(operand: Any) -> Callable[[Any], bool]:
    if not isinstance(operand, list):
        raise TypeError("a list")
    tests = [_equals(value) for value in cast("list[Any]", operand)]
    return lambda argument: any(test(argument) for test in tests)


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _bound(accept: Callable[[float, float], bool]) -> Callable[[Any], Callable[[Any], bool]]:
    def make(operand: Any) -> Callable[[Any], bool]:
        bound = _number(operand)
        if bound is None:
            raise TypeError("a number")

        def holds(argument: Any) -> bool:
            number = _number(argument)
            if number is None:
                raise Undecidable(f"{type(argument).__name__} is not a number")
            return accept(number, bound)

        return holds

    return make


def _max_length(operand: Any) -> Callable[[Any], bool]:
    if isinstance(operand, bool) or not isinstance(operand, int):
        raise TypeError("a whole number")

    def holds(argument: Any) -> bool:
        if not isinstance(argument, str | list):
            raise Undecidable(f"{type(argument).__name__} has no length")
        return len(cast("str | list[Any]", argument)) <= operand

    return holds


def _under(operand: Any) -> Callable[[Any], bool]:
    if not isinstance(operand, str) or not operand.startswith("/"):
        raise TypeError("an absolute folder")
    folder = posixpath.normpath(operand)

    def holds(argument: Any) -> bool:
        if not isinstance(argument, str) or "\0" in argument:
            raise Undecidable("the argument is not a path")
        path = posixpath.normpath(argument)
        return path.startswith("/") and posixpath.commonpath((folder, path)) == folder

    return holds


def _host(operand: Any) -> Callable[[Any], bool]:
    listed = [operand] if isinstance(operand, str) else operand
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in cast("list[Any]", listed)):
        raise TypeError("a host name or a list of them")
    names = cast("list[str]", listed)
    exact = {name.lower() for name in names if not name.startswith("*.")}
    below = tuple(name[1:].lower() for name in names if name.startswith("*."))

    def holds(argument: Any) -> bool:
        host = _host_of(argument)
        return host in exact or host.endswith(below)

    return holds


def _host_of(argument: Any) -> str:
    if not isinstance(argument, str):
        raise Undecidable(f"{type(argument).__name__} is not a URL")
    # Characters on which URL parsers disagree about where the host ends (RFC 3986 §3.2 against the WHATWG's).
    if any(character in argument for character in "\\\t\r\n ") or not argument.isprintable():
        raise Undecidable("the URL has characters that parsers read differently")
    try:
        parts = urlsplit(argument)
        host = parts.hostname
    except ValueError as error:
        raise Undecidable(f"the URL does not parse: {error}") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise Undecidable("the URL is not a plain http or https address")
    return host.rstrip(".").lower()


_OPERATORS: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "equals": _equals,
    "one_of": _one_of,
    "min": _bound(lambda number, bound: number >= bound),
    "max": _bound(lambda number, bound: number <= bound),
    "max_length": _max_length,
    "under": _under,
    "host": _host,
}
