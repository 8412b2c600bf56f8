"""Tool calls of a run, whoever makes them: the model itself, or its code in a cell."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from corral.agents.effects import Effects
from corral.policy import BudgetExceeded, Denied, Emitter, Label, ToolCalled, ToolReturned
from corral.tools import BadArguments, Observation, Tool, Toolbox

__all__ = ["Outcome", "ToolCalls", "cut_middle"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        kind: "ok", "error", "denied" or "limit".
        value: What code is given for it: JSON.
    """

    kind: str
    text: str
    label: Label
    value: Any = None

    @property
    def is_error(self) -> bool:
        return self.kind != "ok"


class ToolCalls:
    """Finds the tool, checks the arguments, passes the gate, says what happened; never raises for a bad call.

    Args:
        most_chars: Longer results are cut in the middle before a model sees them.
    """

    def __init__(self, toolbox: Toolbox, effects: Effects, emitter: Emitter, most_chars: int) -> None:
        self._toolbox = toolbox
        self._effects = effects
        self._emitter = emitter
        self._most_chars = most_chars

    async def make(
        self, name: str, arguments: Any, call_id: str, step: str, *, cell: str | None = None, problem: str = ""
    ) -> Outcome:
        """Make one call.

        Args:
            problem: Why the proposal can't be read; then nothing is called.
            cell: The cell whose code makes it; its result is handed over whole, for code to work on.
        """
        started = time.perf_counter()
        tool = self._toolbox.get(name)
        if self._emitter.active:
            shown = cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {"value": arguments}
            self._emitter.emit(ToolCalled(call_id=call_id, tool=name, arguments=shown, cell=cell))
        outcome = await self._attempt(tool, name, arguments, step, cell, problem)
        self._effects.read(outcome.label)
        if self._emitter.active:
            self._emitter.emit(
                ToolReturned(
                    call_id=call_id,
                    tool=name,
                    content=outcome.text,
                    outcome=outcome.kind,
                    seconds=time.perf_counter() - started,
                    label=outcome.label,
                    cell=cell,
                )
            )
        return outcome

    async def _attempt(
        self, tool: Tool | None, name: str, arguments: Any, step: str, cell: str | None, problem: str
    ) -> Outcome:
        if problem:
            return _refused("error", problem)
        if tool is None:
            near = self._toolbox.suggest(name)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            return _refused("error", f"there is no tool named {name!r}{hint}")
        try:
            checked = tool.check(arguments)
            observation = await self._effects.call(tool, checked, step)
        except BadArguments as error:
            return _refused("error", str(error))
        except Denied as error:
            return _refused("denied", str(error))
        except BudgetExceeded as error:
            return _refused("limit", f"not called: {error}")
        return self._observed(tool, observation, cell)

    def _observed(self, tool: Tool, observation: Observation, cell: str | None) -> Outcome:
        text = observation.text if cell is not None else cut_middle(observation.text, self._most_chars)
        kind = "error" if observation.is_error else "ok"
        return Outcome(kind, text, observation.label, tool.result(observation))


def _refused(kind: str, text: str) -> Outcome:
    return Outcome(kind, text, Label.user())


def cut_middle(text: str, most: int) -> str:
    """`text` with at most about `most` characters: its head and its tail, and how much is missing between."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    tail = most - head
    return f"{text[:head]}\n[... {len(text) - most} characters left out ...]\n{text[-tail:]}"
