"""Actions: one frozen description of one effect, made before it happens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from corral.policy.canonical import canonical, frozen_json
from corral.policy.label import Label

__all__ = ["Action", "ActionKind"]


class ActionKind(StrEnum):
    """The kinds of effects there are; a resource's name starts with one."""

    TOOL = "tool"
    CODE = "code"
    NET = "net"
    MEMORY = "memory"
    MODEL = "model"
    AGENT = "agent"
    FILE = "file"

    @property
    def verbs(self) -> frozenset[str]:
        """What can be done to a resource of this kind."""
        return _VERBS[self]


_VERBS: dict[ActionKind, frozenset[str]] = {
    ActionKind.TOOL: frozenset(("call",)),
    ActionKind.CODE: frozenset(("execute",)),
    ActionKind.NET: frozenset(("connect",)),
    ActionKind.MEMORY: frozenset(("read", "write", "delete")),
    ActionKind.MODEL: frozenset(("generate",)),
    ActionKind.AGENT: frozenset(("delegate",)),
    ActionKind.FILE: frozenset(("read", "write")),
}


@dataclass(frozen=True, slots=True)
class Action:
    """One effect that is about to happen.

    Attributes:
        resource: A typed name such as "tool:mail/send", "code:python", "net:example.org:443".
        verb: One of the kind's verbs.
        principal: The agent that acts, such as "agent:researcher".
        user: On whose behalf.
        arguments: What the effect will be given, JSON values by parameter name.
        labels: Provenance by parameter name; a missing one is untrusted.
        read_only: Whether someone whom the user trusts declared that it changes nothing.
        schema_hash: Of the tool as it was pinned; part of the digest, so that an approval dies with a changed tool.
        via: The agents that had it delegated, from the run's own down to the one above `principal`.
        for_person: It is a question to a person, which nobody else can answer: where rules would allow it, they let it
            be asked, and no answer given before stands for it.
    """

    resource: str
    verb: str
    principal: str = "agent:main"
    user: str = "user:local"
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, Label] = field(default_factory=dict[str, Label])
    read_only: bool = False
    schema_hash: str = ""
    via: tuple[str, ...] = ()
    for_person: bool = False

    def __post_init__(self) -> None:
        kind, separator, rest = self.resource.partition(":")
        verbs = _VERBS_BY_NAME.get(kind)
        if verbs is None or not separator or not rest:
            raise ValueError(f"resource {self.resource!r} is not of the form kind:name with a known kind")
        if self.verb not in verbs:
            raise ValueError(f"{self.verb!r} can't be done to a {kind}; it takes {sorted(verbs)}")

    @property
    def kind(self) -> ActionKind:
        return ActionKind(self.resource.partition(":")[0])

    @property
    def who(self) -> str:
        """The principal with those that it acts for: "agent:boss > agent:helper"."""
        return " > ".join((*self.via, self.principal))

    def digest(self, *, frozen: bool = False) -> str:
        """A hash over who does what with which arguments: what an approval is bound to, hex SHA-256.

        Args:
            frozen: Whether it comes from `frozen`, so that its arguments need not be copied once more.

        Raises:
            TypeError: The arguments are no JSON values.
        """
        who = [self.resource, self.verb, self.who, self.user, self.schema_hash]
        given = self.arguments if frozen else frozen_json(self.arguments)
        return hashlib.sha256(canonical([*who, given]).encode()).hexdigest()

    def frozen(self) -> Action:
        """The same action over a copy of its arguments and labels, which nobody else holds.

        Raises:
            TypeError: The arguments are no JSON values.
        """
        return replace(self, arguments=frozen_json(self.arguments), labels=dict(self.labels))


_VERBS_BY_NAME: dict[str, frozenset[str]] = {kind.value: verbs for kind, verbs in _VERBS.items()}
