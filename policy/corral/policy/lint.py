"""Looking a policy over: rules that can't do what they seem to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from corral.policy.policy import Policy
from corral.policy.rule import SecurityPolicy

__all__ = ["LintFinding", "check"]


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something odd about a rule.

    Attributes:
        kind: "duplicate-id", "unreachable", "shadowed", "contradictory", "impossible", "expired" or "wide".
        rule: The rule it is about, as the audit names it.
        other: The rule that makes it so, if one does.
    """

    kind: str
    rule: str
    problem: str
    other: str | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.kind}: {self.problem}"


def check(policy: Policy, now: datetime | None = None) -> list[LintFinding]:
    """What is odd about a policy; each finding is certain, and a policy without any may still be a bad one."""
    named = [(rule.id or f"rules[{place}]", rule) for place, rule in enumerate(policy.rules)]
    found = list(_duplicates(named))
    for name, rule in named:
        found += _alone(name, rule, now or datetime.now(UTC))
        found += _against_others(name, rule, named)
    return found


def covers(wide: str, narrow: str) -> bool:
    """Whether the pattern `wide` surely matches all that `narrow` does."""
    if wide in (narrow, "*"):
        return True
    literal, star, rest = wide.partition("*")
    return bool(star) and not rest and narrow.partition("*")[0].startswith(literal)


def _duplicates(named: list[tuple[str, SecurityPolicy]]) -> Iterator[LintFinding]:
    seen: set[str] = set()
    for name, _ in named:
        if name in seen:
            yield LintFinding("duplicate-id", name, "two rules have this id, and the audit can't tell them apart")
        seen.add(name)


def _alone(name: str, rule: SecurityPolicy, now: datetime) -> Iterator[LintFinding]:
    if rule.expired(now):
        yield LintFinding("expired", name, f"it allowed until {rule.expires} and does nothing now")
    for key, value in rule.conditions.items():
        if why := _impossible(value):
            yield LintFinding("impossible", name, f"{key} can never hold: {why}")
    if rule.effect == "allow" and rule.resource in ("*", "tool:*") and not rule.conditions and "*" in rule.principals:
        yield LintFinding("wide", name, f"it allows everyone {rule.resource} without a condition")


def _impossible(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    operators = cast("dict[str, Any]", value)
    low, high = operators.get("min"), operators.get("max")
    if low is not None and high is not None and low > high:
        return f"nothing is at least {low} and at most {high}"
    if "equals" in operators and "one_of" in operators and operators["equals"] not in operators["one_of"]:
        return "what it must equal is not among what it may be"
    return None


def _against_others(name: str, rule: SecurityPolicy, named: list[tuple[str, SecurityPolicy]]) -> Iterator[LintFinding]:
    for other_name, other in named:
        if other is rule or not _as_wide(other, rule):
            continue
        same = other.conditions == rule.conditions
        if other.effect == rule.effect and (not other.conditions or same) and _first(other_name, name, other, rule):
            if other.expires is None:
                yield LintFinding("shadowed", name, f"{other_name} says the same of more", other_name)
        elif _stricter(other, rule) and not other.conditions:
            yield LintFinding("unreachable", name, f"{other_name} says {other.effect} in every case", other_name)
        elif _stricter(other, rule) and same:
            yield LintFinding("contradictory", name, f"{other_name} says {other.effect} in the same cases", other_name)


def _as_wide(other: SecurityPolicy, rule: SecurityPolicy) -> bool:
    return (
        covers(other.resource, rule.resource)
        and ("*" in other.actions or set(rule.actions) <= set(other.actions))
        and all(any(covers(wide, narrow) for wide in other.principals) for narrow in rule.principals)
    )


def _stricter(other: SecurityPolicy, rule: SecurityPolicy) -> bool:
    order = ("allow", "ask", "deny")
    return order.index(other.effect) > order.index(rule.effect)


def _first(other_name: str, name: str, other: SecurityPolicy, rule: SecurityPolicy) -> bool:
    """Of two rules that cover each other, only the later is called shadowed."""
    return not (_as_wide(rule, other) and rule.conditions == other.conditions) or other_name < name
