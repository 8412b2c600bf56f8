"""What a session may reach beyond its container, and on whose behalf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from corral.policy import Gate, Layers, Policy
from corral.policy.policy import Judge
from corral.sandbox.destination import Resolve, resolve

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """Connections of a session: each is an action of its own, "net:host:port" connect, on its way through `gate`.

    Attributes:
        names: Resources that rules name as they stand; a private address is reached by such a rule alone.
        resolve: The addresses of a name, asked for once in a session.
    """

    gate: Gate
    principal: str = "agent:main"
    user: str = "user:local"
    names: frozenset[str] = frozenset()
    resolve: Resolve = resolve

    @property
    def instructions(self) -> str:
        """What a model should know about it."""
        some = (
            f" (by name: {', '.join(sorted(name.removeprefix('net:') for name in self.names))})" if self.names else ""
        )
        return (
            f"But for this: some hosts can be reached{some}, by HTTP or HTTPS and through the proxy that http_proxy in "
            "the environment names, as urllib and requests do by themselves. All others are refused with status 403 "
            "and the reason."
        )

    @classmethod
    def of(cls, gate: Gate, principal: str, user: str = "user:local") -> Self | None:
        """What the gate's policy may open; None if it opens nothing at all, and then a session needs no network."""
        opened = _opened(gate.policy)
        if not opened:
            return None
        return cls(gate, principal, user, frozenset(resource for resource in opened if "*" not in resource))


def _opened(judge: Judge) -> set[str]:
    if isinstance(judge, Layers):
        return _opened(judge.first)  # the others only narrow it
    rules = judge.rules if isinstance(judge, Policy) else ()
    return {rule.resource for rule in rules if rule.effect != "deny" and rule.resource.startswith("net:")}
