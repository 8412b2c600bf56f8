"""Cases: what a policy is expected to say, written down beside it; and what changes between two policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from corral.policy.action import Action, ActionKind
from corral.policy.errors import PolicyFileError
from corral.policy.facts import Facts
from corral.policy.judgement import Judgement
from corral.policy.label import Integrity, Label
from corral.policy.policy import Judge, Policy

__all__ = ["Case", "CaseResult", "Change", "diff", "read_cases", "run_cases"]


class Case(BaseModel):
    """One action and the verdict that is expected of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expect: Literal["allow", "ask", "deny"]
    resource: str
    action: str
    principal: str = "agent:main"
    user: str = "user:local"
    arguments: dict[str, Any] = {}
    labels: dict[str, Literal["user", "directory", "attested", "untrusted"]] = {}
    read_only: bool = False
    session: dict[str, Any] = {}
    now: AwareDatetime | None = None
    name: str = ""

    def as_action(self) -> Action:
        """The action of the case.

        Raises:
            ValueError: There is no such resource or action.
        """
        labels = {name: Label(Integrity[level.upper()]) for name, level in self.labels.items()}
        return Action(self.resource, self.action, self.principal, self.user, self.arguments, labels, self.read_only)


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    cases: list[Case] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case."""

    case: Case
    judgement: Judgement

    @property
    def passed(self) -> bool:
        return self.judgement.verdict.name.lower() == self.case.expect

    def __str__(self) -> str:
        name = self.case.name or f"{self.case.action} {self.case.resource}"
        said = self.judgement.verdict.name.lower()
        if self.passed:
            return f"ok: {name}: {said}"
        return f"failed: {name}: expected {self.case.expect}, and it is {said}: {self.judgement.reason}"


def read_cases(path: Path) -> list[Case]:
    """The cases in a .yaml or .toml file, under `cases`.

    Raises:
        PolicyFileError: It can't be read, something is unknown or wrong, or a case names no possible action.
    """
    from corral.policy.files import read  # keeps the YAML reader out of start-up

    cases = read(path, _Cases).cases
    for place, case in enumerate(cases):
        try:
            case.as_action()
        except ValueError as error:
            raise PolicyFileError(path, None, f"cases.{place}: {error}") from None
    return cases


def run_cases(policy: Judge, cases: Sequence[Case], now: datetime | None = None) -> list[CaseResult]:
    """What `policy` says of each."""
    return [
        CaseResult(case, policy.judge(case.as_action(), Facts(case.session, None, case.now or now))) for case in cases
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """An action that two policies judge differently."""

    action: Action
    old: Judgement
    new: Judgement

    @property
    def is_looser(self) -> bool:
        """Whether the newer policy lets more happen."""
        return self.new.verdict < self.old.verdict

    def __str__(self) -> str:
        way = "looser" if self.is_looser else "stricter"
        return (
            f"{way}: {self.action.verb} {self.action.resource} by {self.action.principal}: "
            f"{self.old.verdict.name.lower()} -> {self.new.verdict.name.lower()} ({self.new.reason})"
        )


def diff(old: Policy, new: Policy, actions: Sequence[Action] = ()) -> list[Change]:
    """What changes from `old` to `new`, over `actions` and over one action for each resource, verb and principal that
    a rule of either names. Not a proof that nothing else changes: conditions are probed with no arguments."""
    probes = [*actions, *_probes(old, new)]
    changes = [Change(action, old.judge(action), new.judge(action)) for action in probes]
    return [change for change in changes if change.old.verdict is not change.new.verdict]


def _probes(*policies: Policy) -> list[Action]:
    rules = [rule for policy in policies for rule in policy.rules]
    names = {_instance(rule.resource) for rule in rules if rule.resource != "*"} | {
        f"{k.value}:any" for k in ActionKind
    }
    principals = {_instance(name) for rule in rules for name in rule.principals if name != "*"} | {"agent:main"}
    return [
        Action(name, verb, principal)
        for name in sorted(names)
        for verb in sorted(ActionKind(name.partition(":")[0]).verbs)
        for principal in sorted(principals)
    ]


def _instance(pattern: str) -> str:
    return pattern.replace("*", "any")
