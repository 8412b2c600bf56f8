"""Code of a run: the `python` tool, its sandbox session, and the calls that code makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from dspy.lm15 import FunctionTool

from corral.agents.effects import Effects
from corral.agents.signature import as_text
from corral.agents.toolcalls import ToolCalls, cut_middle
from corral.policy import BudgetExceeded, CellFinished, CellOutput, CellStarted, Denied, Emitter, Label
from corral.sandbox import Execution, Host, Sandbox, SandboxError, SandboxProvider, SandboxSpec
from corral.tools import BadArguments, Tool, Toolbox

__all__ = ["PYTHON", "CellOutcome", "Cells", "code_instructions"]

PYTHON = FunctionTool(
    name="python",
    description="Run Python code in the sandbox. Names stay defined for the next call. "
    "You see what it prints and the value of its last expression.",
    parameters={
        "type": "object",
        "properties": {"code": {"type": "string", "description": "Python source"}},
        "required": ["code"],
        "additionalProperties": False,
    },
)

_MOST_REFUSED_CALLS = 100
"""Refused calls before a cell is stopped: waiting for the host does not count as the cell's time, so a loop around a
refused call would outlive its timeout."""


def code_instructions(tools: Sequence[Tool], provider: SandboxProvider) -> str:
    """What the system prompt says about code."""
    parts = [f"Work by running Python with the tool `python`. {provider.instructions}"]
    if tools:
        parts.append("These functions are defined there; call them by name, print what you need to see:")
        parts.extend(tool.signature() for tool in tools)
    return "\n\n".join(parts)


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """What a cell came to, as the model is told.

    Attributes:
        submitted: What the code handed to SUBMIT, not validated yet.
    """

    text: str
    is_error: bool = False
    submitted: dict[str, Any] | None = None


class Cells:
    """The cells of one run: one sandbox session, opened at the first cell and closed with the run.

    Args:
        outputs: Parameter names of SUBMIT.
        timeout: Seconds of a cell's own time.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        toolbox: Toolbox,
        calls: ToolCalls,
        effects: Effects,
        emitter: Emitter,
        *,
        outputs: Sequence[str],
        timeout: float,
        most_chars: int,
    ) -> None:
        self._provider = provider
        self._toolbox = toolbox
        self._calls = calls
        self._effects = effects
        self._emitter = emitter
        self._outputs = outputs
        self._timeout = timeout
        self._most_chars = most_chars
        self._session: Sandbox | None = None
        self._made = 0

    async def run(self, arguments: dict[str, Any]) -> CellOutcome:
        """Run one cell; never raises for what the code did.

        Raises:
            SandboxError: There is no sandbox to run it in.
        """
        code = arguments.get("code")
        if not isinstance(code, str) or set(arguments) != {"code"}:
            return CellOutcome('python takes one argument, "code", a string', is_error=True)
        self._made += 1
        cell = f"cell/{self._made}"
        if self._session is None:
            self._session = await self._provider.open(SandboxSpec(label=self._emitter.run_id[:12]))
        sandbox = f"{self._session.name} {self._session.id}"
        self._emitter.emit(CellStarted(cell=cell, code=code, sandbox=sandbox))
        started = time.perf_counter()
        outcome, error = await self._execute(self._session, code, cell)
        # What code prints may come from anything that it called.
        self._effects.read(Label.untrusted("code:python"))
        self._emitter.emit(CellOutput(cell=cell, text=outcome.text))
        self._emitter.emit(CellFinished(cell=cell, sandbox=sandbox, seconds=time.perf_counter() - started, error=error))
        return outcome

    async def close(self) -> None:
        """End the session; closing twice is fine."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _execute(self, session: Sandbox, code: str, cell: str) -> tuple[CellOutcome, str | None]:
        with anyio.CancelScope() as scope:
            host = _CellHost(self._toolbox, self._calls, cell, scope)
            try:
                execution = await self._effects.execute(
                    session,
                    code,
                    self._timeout,
                    Host(tuple(t.name for t in self._toolbox.tools), host.call, self._outputs),
                )
            except (Denied, BudgetExceeded) as error:
                return CellOutcome(f"not run: {error}", is_error=True), "denied"
            except SandboxError as error:
                await self.close()
                lost = (
                    "the sandbox was lost, and with it what earlier cells defined; a new one starts with the next cell"
                )
                return CellOutcome(f"{error}; {lost}", is_error=True), type(error).__name__
            return self._told(execution), execution.error.kind.value if execution.error else None
        return CellOutcome("the cell was stopped: it went on calling after it was refused", is_error=True), "stopped"

    def _told(self, execution: Execution) -> CellOutcome:
        parts = [execution.output.rstrip("\n")] if execution.output else []
        if execution.value is not None:
            parts.append(as_text(execution.value))
        if (error := execution.error) is not None:
            parts.append(error.traceback.rstrip() or error.message)
            if not execution.state_kept:
                parts.append("(what earlier cells defined is lost)")
        text = cut_middle("\n".join(parts), self._most_chars)
        return CellOutcome(text, execution.error is not None, execution.submitted)


class _CellHost:
    """Answers the calls that one cell's code makes."""

    def __init__(self, toolbox: Toolbox, calls: ToolCalls, cell: str, scope: anyio.CancelScope) -> None:
        self._toolbox = toolbox
        self._calls = calls
        self._cell = cell
        self._scope = scope
        self._made = 0
        self._refused = 0

    async def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self._made += 1
        step = f"{self._cell}/{self._made}"
        problem = ""
        arguments: dict[str, Any] = kwargs
        tool = self._toolbox.get(name)
        if tool is not None:
            try:
                arguments = tool.positional(args, kwargs)
            except BadArguments as error:
                problem = str(error)
        outcome = await self._calls.make(name, arguments, step, step, cell=self._cell, problem=problem)
        if outcome.kind in ("denied", "limit"):
            self._refused += 1
            if self._refused >= _MOST_REFUSED_CALLS:
                self._scope.cancel()
        if outcome.is_error:
            raise ToolCallFailed(outcome.text)
        return outcome.value


class ToolCallFailed(Exception):
    """Raised into the cell's code, with the text that the model would have seen."""
