"""The guards of one run, on one side: asked in order, each about what those before it have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from corral.agents.errors import AgentError
from corral.agents.guards.guard import About, Guard
from corral.policy import Emitter, Intervened

__all__ = ["Guards", "Refused"]


class Refused(AgentError):
    """A guard or a hook refused a task, or an answer.

    Attributes:
        by: "guard:NAME" or "plugin:NAME".
    """

    def __init__(self, by: str, reason: str) -> None:
        super().__init__(by, reason)
        self.by = by
        self.reason = reason

    def __str__(self) -> str:
        return f"refused by {self.by}: {self.reason}"


@dataclass
class Guards:
    """Guards on one side of a run; a guard that fails has blocked, or, if it only flags, that is noted.

    Attributes:
        noted: What was flagged, "guard:NAME: why".
    """

    guards: Sequence[Guard]
    side: Literal["input", "output"]
    emitter: Emitter
    noted: list[str]

    async def check(self, values: Mapping[str, Any], about: About) -> dict[str, Any]:
        """The values as the guards leave them.

        Raises:
            Refused: One blocked them.
        """
        left = dict(values)
        for guard in self.guards:
            by = f"guard:{guard.name}"
            try:
                reasons, changed = await guard.inspect(left, about)
            except Exception as error:
                self._tell(by, "failed", f"it failed with {type(error).__name__}: {error}")
                if guard.on != "flag":
                    raise Refused(by, "it failed, and nothing passes a guard that fails") from error
                self.noted.append(f"{by}: it failed")
                continue
            if not reasons:
                continue
            why = "; ".join(reasons)
            if guard.on == "block" or (guard.on == "redact" and changed == left):
                self._tell(by, "block", why)
                raise Refused(by, why)
            self._tell(by, guard.on, why)
            if guard.on == "redact":
                left = changed
            else:
                self.noted.append(f"{by}: {why}")
        return left

    def _tell(self, by: str, outcome: str, reason: str) -> None:
        self.emitter.emit(Intervened(by=by, point=self.side, outcome=outcome, reason=reason))
