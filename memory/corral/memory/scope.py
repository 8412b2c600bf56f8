"""Scopes: whose memory it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

__all__ = ["Layer", "Scope"]

Layer = Literal["short", "episodic", "long"]


@dataclass(frozen=True, slots=True)
class Scope:
    """A user's memory with one agent; `session` and `run` say where in it something was said.

    What is remembered under one user and agent is never recalled, listed, exported or forgotten under another.
    """

    user: str = "local"
    agent: str = "main"
    session: str | None = None
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.user or not self.agent:
            raise ValueError("a scope names a user and an agent")

    @property
    def namespace(self) -> str:
        """`user/agent`, percent-encoded so that no name reaches into another's namespace."""
        return _namespace(self.user, self.agent)

    def resource(self, layer: Layer) -> str:
        """The name of one layer of this memory in policies, such as "memory:episodic/local/main"."""
        return f"memory:{layer}/{self.namespace}"


@lru_cache(maxsize=4096)
def _namespace(user: str, agent: str) -> str:
    return f"{quote(user, safe='')}/{quote(agent, safe='')}"
