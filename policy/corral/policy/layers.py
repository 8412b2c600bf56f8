"""Layers: several policies as one, such as the organisation's, the project's, the user's and the session's."""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

from corral.policy.action import Action
from corral.policy.budget import Limits
from corral.policy.facts import Facts
from corral.policy.judgement import Judgement, strictest
from corral.policy.policy import Policy, Redact
from corral.policy.quotas import Quota
from corral.policy.rates import Rate
from corral.policy.tracing import Tracing

__all__ = ["Layers", "Opinion"]


class Opinion(Protocol):
    """Whoever may have something to say about an action; None is nothing."""

    def opinion(self, action: Action, facts: Facts | None = None) -> Judgement | None: ...


class Layers:
    """The first policy, narrowed by each one after it: the strictest verdict and the lowest limits hold.

    A layer never loosens. One that says `default: inherit` is silent about what it does not mention; in the first
    layer, silence denies.
    """

    def __init__(self, first: Policy, *more: Policy) -> None:
        self.first = first
        self.more = more
        limits = first.limits
        for layer in more:
            limits = limits.narrowed(layer.limits)
        self._limits = limits
        self._fingerprint = sha256("\n".join(layer.fingerprint for layer in (first, *more)).encode()).hexdigest()

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def rates(self) -> list[Rate]:
        return [rate for layer in (self.first, *self.more) for rate in layer.rates]

    @property
    def quotas(self) -> list[Quota]:
        return [quota for layer in (self.first, *self.more) for quota in layer.quotas]

    @property
    def repeats(self) -> int | None:
        return min((layer.repeats for layer in (self.first, *self.more) if layer.repeats is not None), default=None)

    @property
    def provenance(self) -> Tracing:
        tracing = self.first.provenance
        for layer in self.more:
            tracing = tracing.narrowed(layer.provenance)
        return tracing

    @property
    def redact(self) -> Redact:
        """What the strictest layer takes out."""
        said = [layer.redact for layer in (self.first, *self.more)]
        return "personal" if "personal" in said else "secrets" if "secrets" in said else "off"

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def judge(self, action: Action, facts: Facts | None = None) -> Judgement:
        """The strictest of what the layers say."""
        return strictest(self.first.judge(action, facts), *(layer.opinion(action, facts) for layer in self.more))

    def opinion(self, action: Action, facts: Facts | None = None) -> Judgement | None:
        return self.judge(action, facts)
