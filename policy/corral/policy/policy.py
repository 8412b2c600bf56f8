"""A policy: rules and limits, and one pure question, what may happen to this action?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from corral.policy.action import Action
from corral.policy.budget import Limits
from corral.policy.errors import PolicyFileError
from corral.policy.facts import Facts
from corral.policy.index import CompiledRule, RuleIndex
from corral.policy.judgement import Judgement, Verdict
from corral.policy.quotas import Quota
from corral.policy.rates import Rate
from corral.policy.rule import SecurityPolicy
from corral.policy.tracing import Tracing

__all__ = ["Judge", "Policy", "Redact"]

Redact = Literal["off", "secrets", "personal"]


class Judge(Protocol):
    """Whoever says what may happen to an action: a policy, or several in layers."""

    @property
    def limits(self) -> Limits: ...

    @property
    def rates(self) -> list[Rate]: ...

    @property
    def quotas(self) -> list[Quota]: ...

    @property
    def repeats(self) -> int | None: ...

    @property
    def provenance(self) -> Tracing: ...

    @property
    def fingerprint(self) -> str: ...

    def judge(self, action: Action, facts: Facts | None = None) -> Judgement: ...


class Policy(BaseModel):
    """Rules, a default for what no rule mentions, and limits. The strictest matching rule wins; order never matters.

    Attributes:
        version: Of the file format; a newer one than this code knows is refused.
        default: What happens to an action that no rule mentions; "inherit" leaves it to the layer above, and denies
            where there is none.
        limits: Caps that hold for every run under this policy.
        rates: How often things may happen; each run counts for itself, unless its gate is given `RateLimits` to share.
        quotas: How much may go out within a time; each run counts for itself, unless they are given a ledger.
        repeats: How often a run may make one and the same call of a tool, within its last 50 calls or ten times as
            many; None is as often as it likes.
        redact: What is taken out of whatever tools, cells and memories give, before a model, a journal or code sees it:
            what looks like a secret, with "personal" also numbers and addresses of people; what the host itself holds
            as secret is taken out in any case.
        provenance: What becomes of calls by where their arguments come from.
        include: Files whose rules and limits `load` adds, named from this file's folder; a policy in force has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    rules: list[SecurityPolicy] = []
    default: Literal["ask", "deny", "inherit"] = "deny"
    limits: Limits = Limits()
    rates: list[Rate] = []
    quotas: list[Quota] = []
    repeats: Annotated[int, Field(ge=1)] | None = None
    redact: Redact = "secrets"
    provenance: Tracing = Tracing()
    include: list[str] = []

    @cached_property
    def _index(self) -> RuleIndex:  # a private attribute of pydantic's costs 1 us at each look
        return RuleIndex(self.rules)

    @field_validator("include")
    @classmethod
    def _only_load_includes(cls, include: list[str]) -> list[str]:
        if include:
            raise ValueError("only Policy.load follows include; a policy made in code takes the rules themselves")
        return include

    def model_post_init(self, context: object, /) -> None:
        _ = self._index  # made now, from the rules as they were validated

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Policy:
        """A validated copy: pydantic's own would keep judging by the old rules."""
        return type(self).model_validate({**self.model_dump(), **(update or {})})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).model_validate, (self.model_dump(),)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy, and what it includes, from a .yaml, .yml or .toml file.

        Raises:
            PolicyFileError: A file can't be read, something in it is unknown or wrong, or files include each other in
                a circle; it has the line.
        """
        from corral.policy.includes import read_policy  # keeps the YAML reader out of start-up

        return read_policy(Path(path))

    @classmethod
    def preset(cls, name: str) -> Policy:
        """One that comes with Corral: readonly, developer, unattended or paranoid; each file says rule by rule why.

        Raises:
            PolicyFileError: There is none of that name.
        """
        folder = Path(str(files("corral.policy") / "presets"))
        known = sorted(file.stem for file in folder.glob("*.toml"))
        if name not in known:
            raise PolicyFileError(Path(name), None, f"there is no preset {name!r}; there are {', '.join(known)}")
        return cls.load(folder / f"{name}.toml")

    @classmethod
    def safe(cls) -> Policy:
        """The policy of those who wrote none: models, sandboxed code and tools declared read-only may go on.

        Memory and agents that the program itself handed to the agent may be used: none has more rights than the one
        that it works for. Everything else asks a person.
        """
        return _SAFE

    @property
    def fingerprint(self) -> str:
        """A hash of all that the policy says, hex SHA-256; a remembered answer is good for one policy."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return sha256(self.model_dump_json().encode()).hexdigest()

    def judge(self, action: Action, facts: Facts | None = None) -> Judgement:
        """The strictest verdict of all rules that match `action`, or the default; pure, no input or output."""
        return self.opinion(action, facts) or self._by_default(action, facts or _NO_FACTS)

    def opinion(self, action: Action, facts: Facts | None = None) -> Judgement | None:
        """What the rules say, or the default; None where no rule matches and the default is to inherit."""
        known = facts or _NO_FACTS
        if self._index.needs_clock and known.now is None:
            known = replace(known, now=datetime.now(UTC))
        strictest: Judgement | None = None
        for rule in self._index.about(action):
            if strictest is not None and rule.verdict is Verdict.ALLOW:
                break  # they come strictest first
            judgement = rule.judge(action, known)
            if judgement is None:
                continue
            if judgement.verdict is Verdict.DENY:
                return judgement
            if strictest is None:
                strictest = judgement
            elif judgement.grants < strictest.grants:
                strictest = replace(strictest, grants=judgement.grants)
        if strictest is None and self.default != "inherit":
            return self._by_default(action, known)
        return strictest

    def about(self, action: Action) -> tuple[CompiledRule, ...]:
        """The rules about such an action, its arguments aside: deny, then ask, then allow."""
        return self._index.about(action)

    def _by_default(self, action: Action, facts: Facts) -> Judgement:
        if self.default == "ask":
            return Judgement(Verdict.ASK, "no rule mentions it, and by default a person is asked")
        for rule in self.about(action):
            if rule.verdict is Verdict.ALLOW and (failing := next(rule.failing(action, facts), None)) is not None:
                why = f"no rule allows it with these arguments; rule {rule.name} would, if it held that {failing}"
                return Judgement(Verdict.DENY, why)
        return Judgement(
            Verdict.DENY,
            f"no rule of the policy allows it; one that does: resource: {action.resource}, actions: [{action.verb}]",
        )


_NO_FACTS = Facts()
_SAFE = Policy(
    default="ask",
    rules=[
        SecurityPolicy(resource="model:*", actions=["generate"], id="safe-models"),
        SecurityPolicy(resource="code:python", actions=["execute"], id="safe-code"),
        SecurityPolicy(resource="tool:*", actions=["call"], conditions={"read_only": True}, id="safe-read-only-tools"),
        SecurityPolicy(resource="memory:*", actions=["read", "write"], id="safe-memory"),
        SecurityPolicy(resource="agent:*", actions=["delegate"], id="safe-agents"),
    ],
)
