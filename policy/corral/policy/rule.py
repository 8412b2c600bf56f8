"""One rule of a policy: the specification's four fields, and what makes them precise."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from corral.policy.action import ActionKind
from corral.policy.conditions import parse_conditions

__all__ = ["SecurityPolicy", "compile_pattern"]


class SecurityPolicy(BaseModel):
    """One rule: whether some principals may do some actions to some resources.

    Attributes:
        resource: A typed name, with `*` for any run of characters other than "/" and ":"; a `*` at the end stands for
            all the rest, so "tool:files/*" is every tool of the server `files` and "*" is everything.
        actions: Verbs such as "call", "execute", "read"; "*" is any.
        principals: "user:NAME" or "agent:NAME", with `*` as in `resource`.
        conditions: All must hold; see `corral.policy.conditions` for the closed vocabulary.
        effect: What follows when the rule matches.
        id: How audit and denials name the rule; by default its place in the file.
        reason: One sentence shown to the model and the person.
        expires: After this moment an allow no longer matches; deny and ask stay in force.
        grants: For an ask, the longest that a person's answer may be remembered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: str
    actions: list[str] = Field(min_length=1)
    principals: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    conditions: dict[str, Any] = {}
    effect: Literal["allow", "ask", "deny"] = "allow"
    id: str | None = None
    reason: str | None = None
    expires: AwareDatetime | None = None
    grants: Literal["once", "session", "resource", "persistent"] = "persistent"

    @field_validator("resource")
    @classmethod
    def _resource_has_a_known_kind(cls, resource: str) -> str:
        kind, separator, rest = resource.partition(":")
        if resource != "*" and (not separator or not rest or kind not in {k.value for k in ActionKind}):
            kinds = ", ".join(f"{k.value}:" for k in ActionKind)
            raise ValueError(f"resource {resource!r} matches nothing; it starts with one of {kinds} or is '*'")
        if not resource.isprintable() or resource != resource.strip():
            raise ValueError(f"resource {resource!r} has characters that no resource has")
        return resource

    @field_validator("principals")
    @classmethod
    def _principals_are_users_or_agents(cls, principals: list[str]) -> list[str]:
        for principal in principals:
            if principal != "*" and (not principal.startswith(("user:", "agent:")) or principal.endswith(":")):
                raise ValueError(f"principal {principal!r} is neither 'user:NAME' nor 'agent:NAME' nor '*'")
        return principals

    @model_validator(mode="after")
    def _verbs_fit_the_resource(self) -> SecurityPolicy:
        if self.resource == "*":
            known = frozenset[str]().union(*(kind.verbs for kind in ActionKind))
        else:
            known = ActionKind(self.resource.partition(":")[0]).verbs
        for verb in self.actions:
            if verb != "*" and verb not in known:
                raise ValueError(f"action {verb!r} can't be done to {self.resource!r}; it takes {sorted(known)}")
        parse_conditions(self.conditions)
        if self.grants != "persistent" and self.effect != "ask":
            raise ValueError(f"grants says how long the answer to an ask is kept, and this rule says {self.effect}")
        return self

    def expired(self, now: datetime) -> bool:
        """Whether an allow has run out."""
        return self.effect == "allow" and self.expires is not None and now >= self.expires


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test whether a whole name matches `pattern`, where `*` is the only special character."""
    body, tail = (pattern[:-1], ".*") if pattern.endswith("*") else (pattern, "")
    parts = (re.escape(part) for part in body.split("*"))
    matcher = re.compile("[^/:]*".join(parts) + tail, re.DOTALL).fullmatch
    return lambda name: matcher(name) is not None
