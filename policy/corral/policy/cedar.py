"""Export to Cedar, for analysis and comparison; Corral never judges by it.

Cedar skips a `forbid` whose condition fails to evaluate, so every attribute is tested with `has` before it is read.
An ask becomes a forbid unless `context.approved`. What Cedar can't say is exported strictly and named in a comment: an
allow with such a condition is left out, a deny or ask is exported without it. So what the export permits, the policy
permits, given arguments of the types that the rules compare with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from corral.policy.action import Action
from corral.policy.label import Integrity
from corral.policy.policy import Policy
from corral.policy.rule import SecurityPolicy

__all__ = ["cedar_request", "to_cedar"]


class _Inexpressible(Exception):
    """Cedar has no word for it."""


def to_cedar(policy: Policy) -> str:
    """The policy's rules as Cedar policies; a default of asking is no policy and is named in a comment.

    Requests: principal `Agent::"NAME"`, action `Action::"VERB"`, resource `Resource::"KIND:NAME"`, and the context
    that `cedar_request` makes.
    """
    parts: list[str] = []
    if policy.default == "ask":
        parts.append("// the default is to ask: what no policy below mentions is denied here\n")
    if policy.provenance.underived != "off" or policy.quotas or policy.rates or policy.repeats is not None:
        parts.append(
            "// provenance, rates, quotas and repeats are not said here: by themselves, these let more happen\n"
        )
    for place, rule in enumerate(policy.rules):
        parts.append("\n".join(_rule(rule, rule.id or f"rules[{place}]")))
    return "\n".join(parts)


def cedar_request(action: Action, *, approved: bool = False) -> dict[str, Any]:
    """The request for an action, as Cedar's JSON; None and numbers with a fraction can't be sent and are left out."""
    return {
        "principal": f"Agent::{json.dumps(action.principal)}",
        "action": f"Action::{json.dumps(action.verb)}",
        "resource": f"Resource::{json.dumps(action.resource)}",
        "context": {
            "name": action.resource,
            "agent": action.principal,
            "user": action.user,
            "read_only": action.read_only,
            "approved": approved,
            "args": {name: value for name, value in action.arguments.items() if isinstance(value, bool | int | str)},
            "labels": {name: int(label.integrity) for name, label in action.labels.items()},
        },
    }


def _rule(rule: SecurityPolicy, name: str) -> Iterator[str]:
    holds: str | None = None
    problem = ""
    try:
        holds = _holds(rule)
    except _Inexpressible as error:
        problem = str(error)
    if rule.effect != "allow":
        yield from _forbid(rule, name, holds)
    if rule.effect == "deny":
        return
    if holds is None:
        yield f"// {json.dumps(name)} permits nothing here: {problem}"
        return
    approved = " && context.approved" if rule.effect == "ask" else ""
    yield f"@id({json.dumps(name)})"
    yield f"permit (principal, {_actions(rule)}, resource)\nwhen {{ {holds}{approved} }};"


def _holds(rule: SecurityPolicy) -> str:
    """That the rule surely matches."""
    if rule.expires is not None and rule.effect == "allow":
        raise _Inexpressible("Cedar has no clock, and it expires")
    conditions = (_condition(*item, strict=False) for item in rule.conditions.items())
    return _all([*_about(rule, strict=False), *conditions])


def _forbid(rule: SecurityPolicy, name: str, holds: str | None) -> Iterator[str]:
    """That it may match: a deny or ask that can't be decided denies, whoever approved."""
    clauses = list(_about(rule, strict=True))
    for key, value in rule.conditions.items():
        try:
            clauses.append(_condition(key, value, strict=True))
        except _Inexpressible as error:
            yield f"// {json.dumps(name)} holds here whatever {json.dumps(key)} is: {error}"
    if rule.effect == "ask" and holds is not None:
        clauses.append(f"!(context.approved && {holds})")
    yield f"@id({json.dumps(name + '/unless-approved' if rule.effect == 'ask' else name)})"
    yield f"forbid (principal, {_actions(rule)}, resource)\nwhen {{ {_all(clauses)} }};"


def _about(rule: SecurityPolicy, *, strict: bool) -> tuple[str, str]:
    return _names("context.name", [rule.resource], strict=strict), _principals(rule, strict=strict)


def _actions(rule: SecurityPolicy) -> str:
    if "*" in rule.actions:
        return "action"
    return "action in [" + ", ".join(f"Action::{json.dumps(verb)}" for verb in rule.actions) + "]"


def _principals(rule: SecurityPolicy, *, strict: bool) -> str:
    if "*" in rule.principals:
        return "true"
    return f"({_names('context.agent', rule.principals, strict=strict)} || " + (
        f"{_names('context.user', rule.principals, strict=strict)})"
    )


def _names(subject: str, patterns: list[str], *, strict: bool) -> str:
    return "(" + " || ".join(_name(subject, pattern, strict=strict) for pattern in patterns) + ")"


def _name(subject: str, pattern: str, *, strict: bool) -> str:
    if "*" not in pattern:
        return f"{subject} == {json.dumps(pattern)}"
    if "*" in pattern[:-1] and not strict:
        raise _Inexpressible("a * in the middle of a name matches more in Cedar")
    return f"{subject} like {json.dumps(pattern)}"


def _all(clauses: list[str]) -> str:
    return " && ".join(clause for clause in clauses if clause != "true") or "true"


def _condition(key: str, value: Any, *, strict: bool) -> str:
    subject, _, name = key.partition(".")
    if key == "read_only":
        return "context.read_only" if value else "!context.read_only"
    if subject == "labels":
        return _label(name, value)
    if subject != "args":
        raise _Inexpressible(f"{key} is not part of a request")
    field = f"context.args[{json.dumps(name)}]"
    has = f"context.args has {json.dumps(name)}"
    operators = cast("dict[str, Any]", value) if isinstance(value, dict) else {"equals": value}
    tests = " && ".join(f"({_test(field, operator, operand)})" for operator, operand in operators.items())
    return f"(!({has}) || {tests})" if strict else f"({has} && {tests})"


def _label(name: str, value: Any) -> str:
    below = isinstance(value, dict)
    level = int(Integrity[str(cast("dict[str, Any]", value)["below"] if below else value).upper()])
    has, field = f"context.labels has {json.dumps(name)}", f"context.labels[{json.dumps(name)}]"
    if below:
        return f"(!({has}) || {field} < {level})" if level > 0 else "false"
    return f"({has} && {field} >= {level})" if level > 0 else "true"


def _test(field: str, operator: str, operand: Any) -> str:
    match operator:
        case "equals":
            return f"{field} == {_literal(operand)}"
        case "one_of":
            return " || ".join(f"{field} == {_literal(value)}" for value in operand)
        case "min":
            return f"{field} >= {_whole(operand)}"
        case "max":
            return f"{field} <= {_whole(operand)}"
        case _:
            raise _Inexpressible(f"{operator} parses its argument, and Cedar only compares texts")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    return _whole(value)


def _whole(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise _Inexpressible(f"{value!r} is no whole number of 64 bits")
    return str(value)
