"""Explaining a judgement: which rule decided, what the others said, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from corral.policy.action import Action
from corral.policy.facts import Facts
from corral.policy.index import CompiledRule
from corral.policy.judgement import Judgement, Verdict
from corral.policy.policy import Policy

__all__ = ["Explanation", "Remark", "explain"]

_WOULD = {"allow": "allow it", "ask": "ask a person"}


@dataclass(frozen=True, slots=True)
class Remark:
    """What one rule about such an action had to say.

    Attributes:
        outcome: "matches", "does not match", "can't be decided" or "expired".
    """

    rule: str
    effect: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an action was judged as it was.

    Attributes:
        remarks: Of every rule about the resource, verb and principal, the strictest first.
        changes: Sentences, each of which names one thing that would change the verdict.
    """

    action: Action
    judgement: Judgement
    remarks: tuple[Remark, ...]
    changes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.judgement.verdict.name}: {self.judgement.reason}"]
        lines += [f"  {r.rule} ({r.effect}): {r.outcome}{': ' + r.detail if r.detail else ''}" for r in self.remarks]
        lines += [f"  to change it: {change}" for change in self.changes]
        return "\n".join(lines)


def explain(policy: Policy, action: Action, facts: Facts | None = None) -> Explanation:
    """Judge `action` and say why; the verdict is that of `policy.judge`."""
    known = facts or Facts()
    if known.now is None:
        known = replace(known, now=datetime.now(UTC))
    rules = policy.about(action)
    remarks = tuple(_remark(rule, action, known) for rule in rules)
    judgement = policy.judge(action, known)
    return Explanation(action, judgement, remarks, tuple(_changes(policy, action, judgement, remarks)))


def _remark(rule: CompiledRule, action: Action, facts: Facts) -> Remark:
    effect = rule.rule.effect
    if facts.now is not None and rule.rule.expired(facts.now):
        return Remark(rule.name, effect, "expired", f"at {rule.rule.expires}")
    said = rule.judge(action, facts)
    if said is rule.judgement:
        return Remark(rule.name, effect, "matches")
    failing = ", ".join(rule.failing(action, facts))
    return Remark(rule.name, effect, "does not match" if said is None else "can't be decided", failing)


def _changes(policy: Policy, action: Action, judgement: Judgement, remarks: tuple[Remark, ...]) -> list[str]:
    if judgement.verdict is Verdict.ALLOW:
        return [f"rule {remark.rule} allows it; without it or with a deny it would not happen" for remark in remarks
                if remark.outcome == "matches"][:1]  # fmt: skip
    against = [r for r in remarks if r.effect != "allow" and r.outcome in ("matches", "can't be decided")]
    if against:
        said = [f"rule {r.rule} ({r.effect}) must no longer match" for r in against]
        if not any(r.effect == "allow" and r.outcome == "matches" for r in remarks):
            said.append("a rule must allow it, for none does")
        return said
    near = [
        f"rule {r.rule} would {_WOULD[r.effect]}, if it held that {r.detail}"
        for r in remarks
        if r.effect != "deny" and r.outcome == "does not match"
    ]
    near += [
        f"rule {r.rule} would {_WOULD[r.effect]}, had it not expired {r.detail}"
        for r in remarks
        if r.effect != "deny" and r.outcome == "expired"
    ]
    return near or [f"a rule such as resource: {action.resource}, actions: [{action.verb}], effect: allow"]
