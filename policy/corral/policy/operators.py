"""The operators of conditions: each makes a test of one value, which raises `Undecidable` for a wrong type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from corral.policy.addresses import Undecidable, host_of, host_pattern, mail_domain, path_of

__all__ = ["OPERATORS", "Test", "parse_operators"]

Test = Callable[[Any], bool]


def parse_operators(name: str, value: Any) -> Test:
    """The test for what stands behind `name:`, a plain value or a mapping of operators that must all hold.

    Raises:
        ValueError: An operator or operand is not in the vocabulary; the message says what is.
    """
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {"equals": value}
    if not given:
        raise ValueError(f"condition {name} names no operator")
    tests = [_parse(name, operator, operand) for operator, operand in given.items()]
    if len(tests) == 1:
        return tests[0]
    return lambda argument: all([test(argument) for test in tests])  # all are run: each may be undecidable


def _parse(name: str, operator: str, operand: Any) -> Test:
    make = OPERATORS.get(operator)
    if make is None:
        raise ValueError(f"unknown operator {operator!r} on {name}; known are {', '.join(sorted(OPERATORS))}")
    try:
        return make(operand)
    except TypeError as error:
        raise ValueError(f"operator {operator!r} on {name} takes {error}, not {operand!r}") from None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values, where true is not 1, and 5.0 is 5."""
    if _kind(one) != _kind(other):
        return False
    if isinstance(one, list):
        left, right = cast("list[Any]", one), cast("list[Any]", other)
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(one, dict):
        mine, its = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return mine.keys() == its.keys() and all(_same(mine[key], its[key]) for key in mine)
    return one == other


def _equals(operand: Any) -> Test:
    if isinstance(operand, float) and not math.isfinite(operand):
        raise TypeError("a finite value")
    wanted = _kind(operand)

    def holds(argument: Any) -> bool:
        if _kind(argument) != wanted:
            raise Undecidable(f"it is a {_kind(argument)} where the rule compares with a {wanted}")
        return _same(argument, operand)

    return holds


def _one_of(operand: Any) -> Test:
    if not isinstance(operand, list) or not operand:
        raise TypeError("a list of values")
    values = cast("list[Any]", operand)
    kinds = {_kind(value) for value in values}

    def holds(argument: Any) -> bool:
        if _kind(argument) not in kinds:
            raise Undecidable(f"it is a {_kind(argument)} where the rule compares with a {' or '.join(sorted(kinds))}")
        return any(_same(argument, value) for value in values)

    return holds


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or (value != value):
        return None
    return value


def _bound(accept: Callable[[float, float], bool]) -> Callable[[Any], Test]:
    def make(operand: Any) -> Test:
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


def _max_length(operand: Any) -> Test:
    if isinstance(operand, bool) or not isinstance(operand, int):
        raise TypeError("a whole number")

    def holds(argument: Any) -> bool:
        if not isinstance(argument, str | list):
            raise Undecidable(f"{type(argument).__name__} has no length")
        return len(cast("str | list[Any]", argument)) <= operand

    return holds


def _each(test: Test, what: str) -> Test:
    """`test` of one value or of all in a list. Neither all nor none is undecidable: allow and deny both fail closed."""

    def holds(argument: Any) -> bool:
        if not isinstance(argument, list):
            return test(argument)
        found = {test(value) for value in cast("list[Any]", argument)}
        if len(found) != 1:
            raise Undecidable(
                f"some of the {what} are among those of the rule, and some not" if found else f"no {what}"
            )
        return found.pop()

    return holds


def _under(operand: Any) -> Test:
    try:
        folder = path_of(operand).rstrip("/") + "/"
    except Undecidable:
        raise TypeError("an absolute folder") from None
    return _each(lambda argument: (path_of(argument) + "/").startswith(folder), "paths")


def _names(operand: Any) -> list[str]:
    listed = cast("list[Any]", operand) if isinstance(operand, list) else [operand]
    if not listed or not all(isinstance(name, str) for name in listed):
        raise TypeError("a host name or a list of them")
    return cast("list[str]", listed)


def _among(operand: Any) -> Callable[[str], bool]:
    names = [host_pattern(name) for name in _names(operand)]
    exact = {name for name in names if not name.startswith("*.")}
    below = tuple(name[1:] for name in names if name.startswith("*."))
    return lambda host: host in exact or host.endswith(below)


def _host(operand: Any) -> Test:
    listed = _among(operand)
    return _each(lambda argument: listed(host_of(argument)), "URLs")


def _domain(operand: Any) -> Test:
    listed = _among(operand)
    return _each(lambda argument: listed(mail_domain(argument)), "addresses")


OPERATORS: dict[str, Callable[[Any], Test]] = {
    "equals": _equals,
    "one_of": _one_of,
    "min": _bound(lambda number, bound: number >= bound),
    "max": _bound(lambda number, bound: number <= bound),
    "max_length": _max_length,
    "under": _under,
    "host": _host,
    "mail_domain": _domain,
}
