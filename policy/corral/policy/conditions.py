"""The closed vocabulary of conditions.

    read_only: true                  the action was declared to change nothing, by someone the user trusts
    args.NAME: VALUE                 the argument equals VALUE (numbers as numbers; true is not 1)
    args.NAME: {OPERATOR: OPERAND}   one or more of
        equals: VALUE    one_of: [VALUE, ...]    min: NUMBER    max: NUMBER    max_length: NUMBER
        under: FOLDER    an absolute path that stays in the folder when "." and ".." are resolved as text
        host: [NAME, ...]         a URL whose host is one of the names ("*.example.org" for the hosts below it)
        mail_domain: [NAME, ...]  a mail address whose domain is one of the names
        The last three also take a list as argument; where only a part of it is among the names, nothing is decided.
    labels.NAME: user|directory|attested|untrusted    the argument's integrity is at least this
    labels.NAME: {below: LEVEL}                       it is less
    session.NAME: as args            a fact that the host gave about the session
    budget.NAME: {min: NUMBER}       what is left of steps, tool_calls, tokens, cost_usd or seconds (`max` too)
    time.hours: "08:00-18:00"        the time of day is in the span, which may cross midnight
    time.days: [mon, tue, ...]       the day of the week
    time.zone: "Europe/Berlin"       how the two above are read; without it they are UTC

A condition that can't be evaluated (no such argument, a wrong type, a URL that does not parse) raises `Undecidable`:
an allow rule then does not match, and a deny or ask rule denies. No deny that mentions an argument is dodged by
leaving the argument out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from corral.policy.action import Action
from corral.policy.addresses import Undecidable
from corral.policy.calendar import Calendar
from corral.policy.facts import Facts
from corral.policy.label import Integrity, Label
from corral.policy.operators import parse_operators

__all__ = ["Condition", "Undecidable", "parse_condition", "parse_conditions"]

Condition = Callable[[Action, Facts], bool]

_BUDGETS = ("steps", "tool_calls", "tokens", "cost_usd", "seconds")


def parse_conditions(conditions: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The tests that the conditions of one rule stand for.

    Raises:
        ValueError: Something is not in the vocabulary.
    """
    timed = {key: value for key, value in conditions.items() if key.startswith("time.")}
    parsed = [parse_condition(key, value) for key, value in conditions.items() if key not in timed]
    return (*parsed, *([_parse_time(timed)] if timed else []))


def parse_condition(key: str, value: Any) -> Condition:
    """The test that `key: value` stands for on its own.

    Raises:
        ValueError: The key, operator or operand is not in the vocabulary; the message says what is.
    """
    subject, _, name = key.partition(".")
    if key == "read_only" and isinstance(value, bool):
        return lambda action, facts: action.read_only is value
    if subject == "args" and name:
        return _parse_argument(name, value)
    if subject == "labels" and name:
        return _parse_label(name, value)
    if subject == "session" and name:
        return _parse_session(name, value)
    if subject == "budget" and name in _BUDGETS:
        return _parse_budget(name, value)
    if subject == "time":
        return _parse_time({key: value})
    raise ValueError(
        f"unknown condition {key!r}: {value!r}; known are read_only: true|false, args.NAME, labels.NAME, session.NAME, "
        f"budget.({'|'.join(_BUDGETS)}) and time.(hours|days|zone)"
    )


def _parse_argument(name: str, value: Any) -> Condition:
    test = parse_operators(f"args.{name}", value)

    def holds(action: Action, facts: Facts) -> bool:
        if name not in action.arguments:
            raise Undecidable(f"the call has no argument {name!r}")
        return test(action.arguments[name])

    return holds


def _parse_session(name: str, value: Any) -> Condition:
    test = parse_operators(f"session.{name}", value)

    def holds(action: Action, facts: Facts) -> bool:
        if name not in facts.session:
            raise Undecidable(f"the session has no {name!r}")
        return test(facts.session[name])

    return holds


def _parse_budget(name: str, value: Any) -> Condition:
    if not isinstance(value, dict) or not cast("dict[str, Any]", value).keys() <= {"min", "max"}:
        raise ValueError(f"condition budget.{name} takes min, max or both, not {value!r}")
    test = parse_operators(f"budget.{name}", value)

    def holds(action: Action, facts: Facts) -> bool:
        if facts.budget is None:
            raise Undecidable("there is no budget to look at")
        left = facts.budget.seconds_left() if name == "seconds" else facts.budget.left(name)
        return test(math.inf if left is None else left)

    return holds


def _parse_label(name: str, value: Any) -> Condition:
    below = isinstance(value, dict)
    if below and set(cast("dict[str, Any]", value)) != {"below"}:
        raise ValueError(f"labels.{name} takes a level or {{below: LEVEL}}, not {value!r}")
    word = str(cast("dict[str, Any]", value)["below"] if below else value)
    try:
        floor = Integrity[word.upper()]
    except KeyError:
        known = ", ".join(level.name.lower() for level in reversed(Integrity))
        raise ValueError(f"labels.{name} takes one of {known}, not {word!r}") from None
    if below:
        return lambda action, facts: action.labels.get(name, _UNKNOWN).integrity < floor
    return lambda action, facts: action.labels.get(name, _UNKNOWN).integrity >= floor


_UNKNOWN = Label()


def _parse_time(timed: Mapping[str, Any]) -> Condition:
    calendar = Calendar.parse(timed)
    return lambda action, facts: calendar.holds(facts.now)
