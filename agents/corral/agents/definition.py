"""Definitions: what an agent was made of, as far as a file can say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from corral.agents.consolidating import Consolidation
from corral.agents.model import Model
from corral.policy import Layers, Limits, Policy

if TYPE_CHECKING:
    from corral.memory import Memory

__all__ = ["Definition"]


@dataclass(frozen=True)
class Definition:
    """What an agent was made of, as far as a file can say it; `AgentFile.of` writes it down.

    Attributes:
        limits: As they were asked for, before the policy's own narrow them.
    """

    signature: str
    model: Model | None
    tools: tuple[Any, ...]
    sandbox: Literal["auto", "docker", "linux", "monty"]
    memory: Memory | None
    policy: Policy | Layers
    limits: Limits
    cell_timeout: float
    observation_chars: int
    untrusted_inputs: tuple[str, ...]
    plugins: tuple[Any, ...] = ()
    skills: tuple[Any, ...] = ()
    agents_md: str | None = None
    has_guards: bool = False
    consolidation: Consolidation | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Definition:
        # DSPy's optimisers copy agents: the copies were made of the same.
        return self
