"""Guards: what may enter a run and what may leave it, checked in code; the same parts are terms of a metric."""

from corral.agents.guards.canary import Canary
from corral.agents.guards.grounded import Grounded
from corral.agents.guards.guard import About, Found, Guard
from corral.agents.guards.guards import Guards, Refused
from corral.agents.guards.metric import GuardMetric
from corral.agents.guards.moderation import Moderation
from corral.agents.guards.texts import Length, Pattern, Redact
from corral.agents.guards.values import Schema

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
