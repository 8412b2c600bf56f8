"""A policy: rules and limits, and one pure question, what may happen to this action?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from corral.policy.action import Action
from corral.policy.budget import Limits
from corral.policy.conditions import Condition, Undecidable, parse_condition
from corral.policy.judgement import Judgement, Verdict
from corral.policy.rule import SecurityPolicy, compile_pattern

__all__ = ["Policy"]

_MOST_INDEXED = 4096
"""Distinct (resource, verb, principal, user) whose rules are remembered; then the index starts anew."""


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    """A rule with its patterns and conditions made ready."""

    rule: SecurityPolicy
    name: str
    verdict: Verdict
    resource: Callable[[str], bool]
    principals: tuple[Callable[[str], bool], ...]
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, rule: SecurityPolicy, place: int) -> _CompiledRule:
        return cls(
            rule,
            rule.id or f"rules[{place}]",
            Verdict[rule.effect.upper()],
            compile_pattern(rule.resource),
            tuple(compile_pattern(principal) for principal in rule.principals),
            tuple(parse_condition(key, value) for key, value in rule.conditions.items()),
        )

    def concerns(self, action: Action) -> bool:
        """Whether the rule is about this kind of action, its arguments aside."""
        return (
            ("*" in self.rule.actions or action.verb in self.rule.actions)
            and self.resource(action.resource)
            and any(matches(action.principal) or matches(action.user) for matches in self.principals)
        )

    def judge(self, action: Action, now: Callable[[], datetime]) -> Judgement | None:
        """What the rule says; None when it does not match."""
        if self.rule.expires is not None and self.rule.expired(now()):
            return None
        try:
            if not all(holds(action) for holds in self.conditions):
                return None
        except Undecidable as error:
            if self.verdict is Verdict.ALLOW:
                return None
            return Judgement(Verdict.DENY, f"rule {self.name} can't be decided: {error}", self.name)
        return Judgement(self.verdict, self.rule.reason or f"rule {self.name} says {self.rule.effect}", self.name)


class Policy(BaseModel):
    """Rules, a default for what no rule mentions, and limits. The strictest matching rule wins; order never matters.

    Attributes:
        version: Of the file format; a newer one than this code knows is refused.
        default: What happens to an action that no rule mentions.
        limits: Caps that hold for every run under this policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    rules: list[SecurityPolicy] = []
    default: Literal["ask", "deny"] = "deny"
    limits: Limits = Limits()

    _compiled: tuple[_CompiledRule, ...] = PrivateAttr(default=())
    _index: dict[tuple[str, str, str, str], tuple[_CompiledRule, ...]] = PrivateAttr(
        default_factory=dict[tuple[str, str, str, str], tuple[_CompiledRule, ...]]
    )
    _now: Callable[[], datetime] = PrivateAttr(default=lambda: datetime.now(UTC))

    def model_post_init(self, context: object, /) -> None:
        self._compiled = tuple(_CompiledRule.of(rule, place) for place, rule in enumerate(self.rules))

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy from a .yaml, .yml or .toml file.

        Raises:
            PolicyFileError: The file can't be read, or something in it is unknown or wrong; it has the line.
        """
        from corral.policy.files import read  # keeps the YAML reader out of start-up

        return read(Path(path), cls)

    @classmethod
    def safe(cls) -> Policy:
        """The policy of those who wrote none: models, sandboxed code and tools declared read-only may go on.

        Memory that the program itself handed to the agent may be used; everything else asks a person.
        """
        return _SAFE

    def judge(self, action: Action) -> Judgement:
        """The strictest verdict of all rules that match `action`; pure, no input or output."""
        strictest: Judgement | None = None
        for rule in self._about(action):
            judgement = rule.judge(action, self._now)
            if judgement is not None and (strictest is None or judgement.verdict > strictest.verdict):
                strictest = judgement
                if judgement.verdict is Verdict.DENY:
                    break
        return strictest or self._by_default(action)

    def _about(self, action: Action) -> tuple[_CompiledRule, ...]:
        key = (action.resource, action.verb, action.principal, action.user)
        rules = self._index.get(key)
        if rules is None:
            if len(self._index) >= _MOST_INDEXED:
                self._index.clear()
            rules = self._index[key] = tuple(rule for rule in self._compiled if rule.concerns(action))
        return rules

    def _by_default(self, action: Action) -> Judgement:
        if self.default == "ask":
            return Judgement(Verdict.ASK, "no rule mentions it, and by default a person is asked")
        return Judgement(
            Verdict.DENY,
            f"no rule of the policy allows it; one that does: resource: {action.resource}, actions: [{action.verb}]",
        )


_SAFE = Policy(
    default="ask",
    rules=[
        SecurityPolicy(resource="model:*", actions=["generate"], id="safe-models"),
        SecurityPolicy(resource="code:python", actions=["execute"], id="safe-code"),
        SecurityPolicy(resource="tool:*", actions=["call"], conditions={"read_only": True}, id="safe-read-only-tools"),
        SecurityPolicy(resource="memory:*", actions=["read", "write"], id="safe-memory"),
    ],
)
