"""Errors of the policy room.

PolicyError
├── PolicyFileError    a policy file can't be read or does not say what it must; has the file and line
├── Denied             the gate refused an action; has the action and the judgement
├── BudgetExceeded     an action would have gone past a limit; has the limit's name, cap and what was spent
└── NotAdmitted        an effect was tried without an admission of its own: a bug in the caller
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corral.policy.action import Action
    from corral.policy.judgement import Judgement

__all__ = ["BudgetExceeded", "Denied", "NotAdmitted", "PolicyError", "PolicyFileError"]


class PolicyError(Exception):
    """Base of what this room raises."""


class PolicyFileError(PolicyError):
    """A policy file is missing, unreadable or wrong; nothing of it is in force.

    Attributes:
        more: What else is wrong in it, each with its line.
    """

    def __init__(
        self, path: Path, line: int | None, problem: str, more: tuple[tuple[int | None, str], ...] = ()
    ) -> None:
        super().__init__(path, line, problem, more)
        self.path = path
        self.line = line
        self.problem = problem
        self.more = more

    @property
    def all(self) -> list[str]:
        """Every mistake, as "FILE:LINE: what is wrong"."""
        return [self._at(line, problem) for line, problem in ((self.line, self.problem), *self.more)]

    def __str__(self) -> str:
        also = f" (and {len(self.more)} more; `corral policy check` names them)" if self.more else ""
        return self._at(self.line, self.problem) + also

    def _at(self, line: int | None, problem: str) -> str:
        return f"{self.path}:{line}: {problem}" if line else f"{self.path}: {problem}"


class Denied(PolicyError):
    """An action was refused; its effect did not run."""

    def __init__(self, action: Action, judgement: Judgement) -> None:
        super().__init__(action, judgement)
        self.action = action
        self.judgement = judgement

    def __str__(self) -> str:
        return f"denied: {self.action.verb} {self.action.resource}: {self.judgement.reason}"


class BudgetExceeded(PolicyError):
    """An action would have gone past a limit; its effect did not run.

    Attributes:
        needed: What the action would have cost at the most; 0 where that is not counted.
    """

    def __init__(self, limit: str, cap: float, spent: float, needed: float = 0.0) -> None:
        super().__init__(limit, cap, spent, needed)
        self.limit = limit
        self.cap = cap
        self.spent = spent
        self.needed = needed

    def __str__(self) -> str:
        left = self.cap - self.spent
        if self.needed and left > 0:
            return (
                f"the limit of {self.cap:g} {self.limit} leaves {left:g}, and {self.needed:g} are needed "
                f"({self.spent:g} spent or reserved)"
            )
        return f"the limit of {self.cap:g} {self.limit} is reached ({self.spent:g} spent or reserved)"


class NotAdmitted(PolicyError):
    """An effect was called without the admission that the gate makes for exactly this action."""
