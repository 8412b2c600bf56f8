"""Tool calls of a run, whoever makes them: the model itself, or its code in a cell."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, cast

from corral.agents.effects import Effects
from corral.agents.errors import UnknownOutcome
from corral.agents.reports import CallReports
from corral.agents.result import Refusal
from corral.agents.stored import bad_call_from_json, bad_call_to_json
from corral.policy import BudgetExceeded, Denied, Emitter, Label, ToolCalled, ToolReturned
from corral.tools import Artifacts, BadArguments, Media, Observation, Tool, Toolbox, reporting

__all__ = ["Outcome", "ToolCalls", "cut_middle"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        kind: "ok", "error", "denied", "limit", or "unknown" where nobody knows whether it happened.
        value: What code is given for it: JSON.
        media: Pictures and sounds among it.
        denied: What was refused, where it was.
    """

    kind: str
    text: str
    label: Label
    value: Any = None
    denied: Refusal | None = None
    media: tuple[Media, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.kind != "ok"


class _BadCall(Exception):
    """There is nothing to be called; the text tells the model why."""


class ToolCalls:
    """Finds the tool, checks the arguments, passes the gate, says what happened; never raises for a bad call.

    Args:
        most_chars: Longer results are cut in the middle before a model sees them.
        artifacts: Keeps what is cut, for the model to read on in.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        effects: Effects,
        emitter: Emitter,
        most_chars: int,
        artifacts: Artifacts | None = None,
    ) -> None:
        self._toolbox = toolbox
        self._effects = effects
        self._emitter = emitter
        self._most_chars = most_chars
        self._artifacts = artifacts
        self.found: dict[str, None] = {}
        """The tools that this run has searched for and found, in their order."""

    async def make(
        self,
        name: str,
        arguments: Any,
        call_id: str,
        step: str,
        *,
        cell: str | None = None,
        problem: str = "",
        again: bool = False,
    ) -> Outcome:
        """Make one call.

        Args:
            problem: Why the proposal can't be read; then nothing is called.
            cell: The cell whose code makes it; its result is handed over whole, for code to work on.
            again: That cell is run again, and only what is recorded can be had.

        Raises:
            ReplayDiverged: `again`, and it was not called before.
        """
        started = time.perf_counter()
        tool = self._toolbox.get(name)
        told = self._emitter.active and not again
        if told:
            shown = cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {"value": arguments}
            self._emitter.emit(ToolCalled(call_id=call_id, tool=name, arguments=shown, cell=cell))
        reports = None if tool is None else CallReports(self._effects, self._emitter, tool, call_id, step)
        with reporting(reports):
            outcome = await self._attempt(tool, name, arguments, step, cell, problem, again)
        if told:
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

    def shown(self, source: str, observation: Observation) -> str:
        """The observation as a model sees it: whole if it is short enough, else head and tail, the rest kept if it can
        be."""
        if observation.whole is not None:
            return observation.text
        if self._artifacts is not None and not source.startswith("read_result"):
            return self._artifacts.shorten(source, observation).text
        return cut_middle(observation.text, self._most_chars)

    async def _attempt(
        self, tool: Tool | None, name: str, arguments: Any, step: str, cell: str | None, problem: str, again: bool
    ) -> Outcome:
        try:
            kept = None if cell is not None else self._effects.steps.recorded(step)
            if (said := bad_call_from_json(kept)) is not None:
                return _refused("error", said)
            if problem:
                raise _BadCall(problem)
            if tool is None:
                raise _BadCall(self._unknown(name))
            # What was called before a resume was checked then; the tool may take something else by now.
            checked = tool.check(arguments) if kept is None else arguments
            observation = await self._effects.tools.call(tool, checked, step, again=cell if again else None)
        except (_BadCall, BadArguments) as error:
            if cell is None:
                await self._effects.steps.record(step, bad_call_to_json(str(error)))
            return _refused("error", str(error))
        except Denied as error:
            return replace(_refused("denied", str(error)), denied=Refusal.of(error))
        except BudgetExceeded as error:
            return _refused("limit", f"not called: {error}")
        except UnknownOutcome as error:
            return _refused("unknown", str(error))
        return self._observed(tool, observation, cell)

    def _unknown(self, name: str) -> str:
        near = self._toolbox.suggest(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"there is no tool named {name!r}{hint}"

    def _observed(self, tool: Tool, observation: Observation, cell: str | None) -> Outcome:
        for found in self._toolbox.found_by(tool, observation):
            self.found[found] = None
        whole = observation.text if observation.whole is None else str(observation.whole)
        text = whole if cell is not None else self.shown(tool.name, observation)
        kind = "error" if observation.is_error else "ok"
        return Outcome(kind, text, observation.label, tool.result(observation), media=observation.media)


def _refused(kind: str, text: str) -> Outcome:
    return Outcome(kind, text, Label.user())


def cut_middle(text: str, most: int) -> str:
    """`text` with at most about `most` characters: its head and its tail, and how much is missing between."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    tail = most - head
    return f"{text[:head]}\n[... {len(text) - most} characters left out ...]\n{text[-tail:]}"
