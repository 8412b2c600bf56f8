"""Collaborators: what the runs of an agent share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corral.agents.guards import Guard
from corral.agents.hooks import Hook
from corral.agents.journal import Journal
from corral.agents.kit import Kit
from corral.agents.skills import Guidance
from corral.policy import (
    Approver,
    Audit,
    Budget,
    Grants,
    Judge,
    Layers,
    Ledger,
    Limits,
    Policy,
    Quotas,
    RateLimits,
    Redactor,
    Sink,
    Throttle,
)
from corral.tools import Artifacts

if TYPE_CHECKING:
    from corral.memory import Memory

__all__ = ["Collaborators", "throttles_of"]


@dataclass(frozen=True)
class Collaborators:
    """What the runs of an agent share. A new collaborator is a field here, an argument of `Agent`, and one line in
    `Assembly`, which hands it to who needs it.

    Attributes:
        kit: Tools and sandbox.
        own_policy: The policy that the agent was given; None if it takes that of whom it works for, or the safe one.
        hooks: Asked before and after what a run does, also by those of the agents below it.
        throttles: What a team's runs share, such as the buckets of its rates.
        limits: Of one run, the policy's own among them.
        budget: What all runs spend from together.
        ledger: Keeps what rates and quotas have counted.
        redactor: Takes secrets out of what tools, cells and memories give.
        untrusted_inputs: Names of inputs whose text is not the user's.
    """

    name: str
    user: str
    kit: Kit
    policy: Judge
    limits: Limits
    budget: Budget | None
    approver: Approver | None
    audit: Audit | None
    grants: Grants
    sinks: tuple[Sink, ...]
    journal: Journal | None
    memory: Memory | None
    artifacts: Artifacts | None
    cell_timeout: float
    observation_chars: int
    redactor: Redactor
    untrusted_inputs: frozenset[str] = frozenset()
    ledger: Ledger | None = None
    own_policy: Policy | Layers | None = None
    throttles: tuple[Throttle, ...] = ()
    hooks: tuple[Hook, ...] = ()
    input_guards: tuple[Guard, ...] = ()
    output_guards: tuple[Guard, ...] = ()
    guidance: Guidance | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Collaborators:
        # DSPy's optimisers copy agents: the copies spend from the same budget and write to the same journal.
        return self


def throttles_of(policy: Policy | Layers | None, ledger: Ledger | None = None) -> tuple[Throttle, ...]:
    """What counts a policy's rates and quotas."""
    if policy is None:
        return ()
    rates = (RateLimits(policy.rates, ledger=ledger),) if policy.rates else ()
    return (*rates, Quotas(policy.quotas, ledger)) if policy.quotas else rates
