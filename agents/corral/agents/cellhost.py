"""The host's side of a cell: answers the calls that its code makes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import anyio

from corral.agents.errors import AgentChanged, ReplayDiverged
from corral.agents.recorded import RecordedSteps
from corral.agents.result import Refusal
from corral.agents.steps import Steps
from corral.agents.toolcalls import ToolCalls
from corral.tools import BadArguments, Toolbox

__all__ = ["CellHost", "ToolCallFailed"]

_MOST_REFUSED_CALLS = 100
"""Refused calls before a cell is stopped: waiting for the host does not count as the cell's time, so a loop around a
refused call would outlive its timeout."""


class ToolCallFailed(Exception):
    """Raised into the cell's code, with the text that the model would have seen."""


class CellHost:
    """Makes the calls of one cell, each as a step named by what is called.

    Args:
        again: The cell ended before and is run again for its names: what it had not called, it must not call.
    """

    def __init__(self, toolbox: Toolbox, calls: ToolCalls, steps: Steps, cell: str, *, again: bool = False) -> None:
        self.scope = anyio.CancelScope()
        self.again = again
        self.unknown: list[str] = []
        self.denied: list[Refusal] = []
        self.diverged: ReplayDiverged | AgentChanged | None = None
        self._toolbox = toolbox
        self._calls = calls
        self._cell = cell
        self._stored = steps.names(f"{cell}/") if isinstance(steps, RecordedSteps) else set[str]()
        self._same: Counter[str] = Counter()
        self._made = 0
        self._open = 0
        self._refused = 0

    async def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self._made += 1
        arguments, problem = self._named(name, args, kwargs)
        step = self._step(name, arguments)
        self._check(name, step)
        self._open += 1
        try:
            outcome = await self._calls.make(
                name,
                arguments,
                f"{self._cell}/{self._made}",
                step,
                cell=self._cell,
                problem=problem,
                again=self.again,
            )
        except (ReplayDiverged, AgentChanged) as error:
            self._stop(error)
            raise
        finally:
            self._open -= 1
            self._stored.discard(step)
        if outcome.kind in ("denied", "limit"):
            self._refused += 1
            if self._refused >= _MOST_REFUSED_CALLS:
                self.scope.cancel()
        if outcome.denied is not None:
            self.denied.append(outcome.denied)
        if outcome.kind == "unknown":
            self.unknown.append(step)
        if outcome.is_error:
            raise ToolCallFailed(outcome.text)
        return outcome.value

    def _named(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], str]:
        tool = self._toolbox.get(name)
        if tool is None:
            return kwargs, ""
        try:
            return tool.positional(args, kwargs), ""
        except BadArguments as error:
            return kwargs, str(error)

    def _step(self, name: str, arguments: dict[str, Any]) -> str:
        """By what is called and the how manieth equal call it is: threads of a cell call in any order."""
        said = json.dumps([name, arguments], sort_keys=True, default=str)
        digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        number = self._same[digest]
        self._same[digest] += 1
        return f"{self._cell}/{digest}/{number}"

    def _check(self, name: str, step: str) -> None:
        """A cell that was cut off runs anew; a call that counts is not made while calls from before are missing."""
        tool = self._toolbox.get(name)
        if not self._stored or step in self._stored or self._open or tool is None or tool.effect.repeatable:
            return
        error = ReplayDiverged(self._cell, f"it called {name} where it had called something else before")
        self._stop(error)
        raise error

    def _stop(self, error: ReplayDiverged | AgentChanged) -> None:
        self.diverged = self.diverged or error
        self.scope.cancel()
