"""Members: what an agent can have as a tool, and a team is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from corral.agents.result import Result
from corral.agents.signature import TaskSignature
from corral.agents.start import Start
from corral.policy import Limits

__all__ = ["Member"]


@runtime_checkable
class Member(Protocol):
    """What can be delegated to: an agent, or several that answer as one."""

    @property
    def name(self) -> str:
        """What rules call it: "agent:NAME"."""
        ...

    @property
    def description(self) -> str:
        """What it is good for."""
        ...

    @property
    def signature(self) -> TaskSignature: ...

    @property
    def limits(self) -> Limits: ...

    async def start(self, task: Any, inputs: Mapping[str, Any], start: Start) -> Result: ...
