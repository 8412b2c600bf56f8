"""Rights: what an agent may do that another one has started, which is never more than that one may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from corral.policy import Action, Facts, Judgement, Layers, Limits, Policy, Quota, Rate, Tracing, Verdict
from corral.policy.judgement import strictest

__all__ = ["Layer", "Rights"]


@dataclass(frozen=True, slots=True)
class Layer:
    """The policy of one agent of a chain.

    Attributes:
        principals: That agent, "agent:NAME", and those below it except the last: none of them may be used to do what it
            may not do itself.
    """

    policy: Policy | Layers
    principals: tuple[str, ...]

    def above(self, principal: str) -> Layer:
        """The same layer, with one more agent between it and whoever acts."""
        return Layer(self.policy, (*self.principals, principal))


class Rights:
    """The policies of a chain of agents as one, the first agent's first: the strictest of what they say holds.

    Each policy is asked about every agent between its own and the one that acts, as if that one did it: a rule that is
    about the delegating agent alone can't be got round by delegating.
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        limits = Limits()
        for layer in layers:
            limits = limits.narrowed(layer.policy.limits)
        self.limits = limits
        said = "\n".join(f"{layer.policy.fingerprint} {' '.join(layer.principals)}" for layer in layers)
        self.fingerprint = sha256(said.encode()).hexdigest()

    @property
    def repeats(self) -> int | None:
        """The fewest that one of them allows."""
        return min((layer.policy.repeats for layer in self.layers if layer.policy.repeats is not None), default=None)

    @property
    def provenance(self) -> Tracing:
        """The strictest of them; manifests and directory are the first agent's that has any."""
        tracing = self.layers[0].policy.provenance
        for layer in self.layers[1:]:
            tracing = tracing.narrowed(layer.policy.provenance)
        return tracing

    @property
    def rates(self) -> list[Rate]:
        """None of its own: the buckets of a whole team are shared, and its first run makes them."""
        return []

    @property
    def quotas(self) -> list[Quota]:
        """As `rates`."""
        return []

    def judge(self, action: Action, facts: Facts | None = None) -> Judgement:
        first = self.layers[0].policy.judge(action, facts)
        return strictest(first, *self._opinions(action, facts))

    def _opinions(self, action: Action, facts: Facts | None) -> Iterator[Judgement | None]:
        for layer in self.layers:
            yield layer.policy.opinion(action, facts)
            for principal in layer.principals:
                said = layer.policy.judge(replace(action, principal=principal), facts)
                if said.verdict is not Verdict.ALLOW:
                    said = replace(said, reason=f"for {principal}, which has it done: {said.reason}")
                yield said
