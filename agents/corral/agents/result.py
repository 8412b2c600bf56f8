"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dspy.lm15 import Message

from corral.policy import BudgetExceeded, Denied, Label, Spend, Usage
from corral.sandbox import Artifact

__all__ = ["Refusal", "Result", "StopReason"]


class StopReason(StrEnum):
    """Why a run ended. Only DONE means that the model finished by itself."""

    DONE = "done"
    STEPS = "steps"
    TOOL_CALLS = "tool_calls"
    TOKENS = "tokens"
    COST = "cost_usd"
    SECONDS = "seconds"
    DEPTH = "depth"
    """Agents that delegate to agents that delegate: as deep as this no agent may."""
    DENIED = "denied"
    """The policy or a hook refused what the run can't go on without, or guards its task or its answers."""
    INVALID = "invalid"
    """The model's answers can't be used, several in a row or the same again, although it was told why."""
    MODEL_ERROR = "model_error"
    CONTEXT = "context"
    """The task itself is longer than the model's context window."""
    CANCELLED = "cancelled"
    ERROR = "error"

    @property
    def is_limit(self) -> bool:
        """Whether a budget ended the run."""
        return self in _LIMITS


_LIMITS = frozenset(
    (StopReason.STEPS, StopReason.TOOL_CALLS, StopReason.TOKENS, StopReason.COST, StopReason.SECONDS, StopReason.DEPTH)
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that the model wanted and that did not happen, as the policy, a hook or a person refused it.

    Attributes:
        resource: As rules name it, such as "tool:mail/send".
        reason: A sentence, with who refused it or which rule.
    """

    resource: str
    reason: str

    @classmethod
    def of(cls, error: Denied) -> Refusal:
        return cls(error.action.resource, error.judgement.reason)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        outputs: Values by output name, validated; None when there was no valid answer. After a limit it is the answer
            that the model gave from what it had.
        text: What the model said last, if anything.
        detail: A sentence on how it ended, for a person; empty when `reason` says it all.
        steps: Its own model calls.
        tool_calls: Tool calls and cells made, those by code and by agents that it delegated to included.
        seconds: Wall time.
        messages: The conversation as the model saw it last; old steps may have become a summary.
        repairs: How often the model had to be told that its answer could not be used: calls that can't be read,
            outputs that don't fit, answers that say nothing; and once if the protocol was changed.
        compactions: How often old steps became a summary.
        usage: Of all model calls, those of agents that it delegated to included.
        spent: What it took from its budget, with all that was delegated.
        noted: What guards remarked on and let pass, "guard:NAME: why".
        label: Of the answer: the join of all that the model had read.
        artifacts: What its cells displayed, in order: pictures, tables, figures. Cells that ran before a
            resume are not among them.
        denied: Each refused tool call, cell and model call of its own, in order; agents below it keep their own.
        unknown: Steps that must not be repeated and were cut off, so that nobody knows what they did.
    """

    run_id: str
    reason: StopReason
    outputs: dict[str, Any] | None
    text: str
    usage: Usage
    steps: int
    tool_calls: int
    seconds: float
    detail: str = ""
    messages: tuple[Message, ...] = field(default=(), repr=False)
    repairs: int = 0
    unknown: tuple[str, ...] = ()
    compactions: int = 0
    spent: Spend = field(default_factory=Spend)
    label: Label = field(default_factory=Label.user)
    noted: tuple[str, ...] = ()
    denied: tuple[Refusal, ...] = ()
    artifacts: tuple[Artifact, ...] = field(default=(), repr=False)

    @classmethod
    def not_started(cls, run_id: str, error: Denied | BudgetExceeded) -> Result:
        """A run that was to be delegated, and was refused."""
        reason = StopReason(error.limit) if isinstance(error, BudgetExceeded) else StopReason.DENIED
        denied = (Refusal.of(error),) if isinstance(error, Denied) else ()
        return cls(run_id, reason, None, "", Usage(), 0, 0, 0.0, str(error), denied=denied)

    @property
    def ok(self) -> bool:
        """Whether the model finished by itself, with valid outputs."""
        return self.reason is StopReason.DONE and self.outputs is not None
