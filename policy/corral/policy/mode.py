"""Modes of a gate: what becomes of a judgement before it is acted on. None of them lets through what a rule denies,
except `SHADOW`, which is for trying a policy out and says so everywhere."""

from __future__ import annotations

from enum import StrEnum

from corral.policy.action import Action, ActionKind
from corral.policy.judgement import Judgement, Verdict

__all__ = ["Mode"]


class Mode(StrEnum):
    """How strictly a gate takes its policy."""

    ENFORCE = "enforce"
    """As judged."""
    PLAN = "plan"
    """Nothing that changes anything: reads, models, code in a sandbox and other agents, whose calls are judged one by
    one."""
    UNATTENDED = "unattended"
    """Nobody can be asked: what asks is denied, unless a grant given before answers it."""
    SHADOW = "shadow"
    """INSECURE. Everything happens, and the audit says what would have been refused; limits still hold."""

    @property
    def is_secure(self) -> bool:
        return self is not Mode.SHADOW

    def narrowed(self, other: Mode) -> Mode:
        """The stricter of both. Of plan and unattended it is plan, and whoever joins them leaves the approver out."""
        return max(self, other, key=_STRICTNESS.index)

    def tighten(self, action: Action, judgement: Judgement) -> Judgement:
        """The judgement as this mode takes it, never a laxer one."""
        if self is Mode.PLAN and judgement.verdict is not Verdict.DENY and not _only_reads(action):
            return Judgement(Verdict.DENY, "in plan mode nothing is changed; describe the step instead", judgement.rule)
        return judgement


_STRICTNESS = (Mode.SHADOW, Mode.ENFORCE, Mode.UNATTENDED, Mode.PLAN)


def _only_reads(action: Action) -> bool:
    match action.kind:
        case ActionKind.MODEL | ActionKind.CODE | ActionKind.AGENT:
            return True
        case ActionKind.MEMORY | ActionKind.FILE:
            return action.verb == "read"
        case _:
            return action.read_only
