"""Rules made ready for judging, and found by the resource that they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corral.policy.action import Action
from corral.policy.conditions import Condition, Undecidable, parse_conditions
from corral.policy.facts import Facts
from corral.policy.judgement import GrantScope, Judgement, Verdict
from corral.policy.rule import SecurityPolicy, compile_pattern

__all__ = ["CompiledRule", "RuleIndex"]

_MOST_REMEMBERED = 4096
"""Distinct (resource, verb, principal, user) whose rules are remembered; then the memory starts anew."""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its patterns and conditions made ready.

    Attributes:
        place: Its index in the policy.
        name: How audit and denials name it.
    """

    rule: SecurityPolicy
    place: int
    name: str
    verdict: Verdict
    resource: Callable[[str], bool]
    principals: tuple[Callable[[str], bool], ...]
    conditions: tuple[Condition, ...]
    judgement: Judgement

    @classmethod
    def of(cls, rule: SecurityPolicy, place: int) -> CompiledRule:
        name = rule.id or f"rules[{place}]"
        verdict = Verdict[rule.effect.upper()]
        reason = rule.reason or f"rule {name} says {rule.effect}"
        return cls(
            rule,
            place,
            name,
            verdict,
            compile_pattern(rule.resource),
            tuple(compile_pattern(principal) for principal in rule.principals),
            parse_conditions(rule.conditions),
            Judgement(verdict, reason, name, GrantScope[rule.grants.upper()]),
        )

    @property
    def needs_clock(self) -> bool:
        return self.rule.expires is not None or any(key.startswith("time.") for key in self.rule.conditions)

    def concerns(self, action: Action) -> bool:
        """Whether the rule is about this kind of action, its arguments aside."""
        return (
            ("*" in self.rule.actions or action.verb in self.rule.actions)
            and self.resource(action.resource)
            and any(matches(action.principal) or matches(action.user) for matches in self.principals)
        )

    def judge(self, action: Action, facts: Facts) -> Judgement | None:
        """What the rule says; None when it does not match."""
        if self.rule.expires is not None and (facts.now is None or self.rule.expired(facts.now)):
            return None
        undecidable: Undecidable | None = None
        for holds in self.conditions:
            try:
                if not holds(action, facts):
                    return None
            except Undecidable as error:
                undecidable = undecidable or error
        if undecidable is None:
            return self.judgement
        if self.verdict is Verdict.ALLOW:
            return None
        return Judgement(Verdict.DENY, f"rule {self.name} can't be decided: {undecidable}", self.name)

    def failing(self, action: Action, facts: Facts) -> Iterator[str]:
        """The conditions that do not hold, or can't be decided, as the rule writes them."""
        for key, value in self.rule.conditions.items():
            for holds in parse_conditions(self._with_zone(key, value)):
                try:
                    if not holds(action, facts):
                        yield f"{key}: {value!r}"
                except Undecidable as error:
                    yield f"{key}: {value!r} ({error})"

    def _with_zone(self, key: str, value: object) -> dict[str, object]:
        if key == "time.zone":
            return {}
        zone = self.rule.conditions.get("time.zone")
        return {key: value} if zone is None or not key.startswith("time.") else {key: value, "time.zone": zone}


class RuleIndex:
    """The rules of a policy by resource, the strictest first."""

    def __init__(self, rules: list[SecurityPolicy]) -> None:
        self.rules = tuple(CompiledRule.of(rule, place) for place, rule in enumerate(rules))
        self.needs_clock = any(rule.needs_clock for rule in self.rules)
        self._exact: dict[str, list[CompiledRule]] = {}
        self._below: dict[str, list[CompiledRule]] = {}
        for rule in self.rules:
            literal, star, _ = rule.rule.resource.partition("*")
            shelf = self._below if star else self._exact
            shelf.setdefault(_cut(literal) if star else literal, []).append(rule)
        self._known: dict[tuple[str, str, str, str], tuple[CompiledRule, ...]] = {}

    def about(self, action: Action) -> tuple[CompiledRule, ...]:
        """The rules about such an action: deny, then ask, then allow."""
        key = (action.resource, action.verb, action.principal, action.user)
        rules = self._known.get(key)
        if rules is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            found = [rule for rule in self._near(action.resource) if rule.concerns(action)]
            rules = self._known[key] = tuple(sorted(found, key=lambda rule: (-rule.verdict, rule.place)))
        return rules

    def _near(self, resource: str) -> Iterator[CompiledRule]:
        yield from self._exact.get(resource, ())
        for prefix in _prefixes(resource):
            yield from self._below.get(prefix, ())


def _cut(literal: str) -> str:
    """The part of a pattern's literal beginning up to its last separator."""
    return literal[: max(literal.rfind("/"), literal.rfind(":")) + 1]


def _prefixes(resource: str) -> Iterator[str]:
    yield ""
    for place, character in enumerate(resource, 1):
        if character in "/:":
            yield resource[:place]
