"""Guards: what may enter a run and what may leave it, checked in code; the same parts are terms of a metric."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.agents.guards.canary import Canary
    from corral.agents.guards.grounded import Grounded
    from corral.agents.guards.guard import About, Found, Guard
    from corral.agents.guards.guards import Guards, Refused
    from corral.agents.guards.metric import GuardMetric
    from corral.agents.guards.moderation import Moderation
    from corral.agents.guards.texts import Length, Pattern, Redact
    from corral.agents.guards.values import Schema
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "canary": "Canary",
            "grounded": "Grounded",
            "guard": "About Found Guard",
            "guards": "Guards Refused",
            "metric": "GuardMetric",
            "moderation": "Moderation",
            "texts": "Length Pattern Redact",
            "values": "Schema",
        },
    )

__all__ = [
    "About",
    "Canary",
    "Found",
    "Grounded",
    "Guard",
    "GuardMetric",
    "Guards",
    "Length",
    "Moderation",
    "Pattern",
    "Redact",
    "Refused",
    "Schema",
]
