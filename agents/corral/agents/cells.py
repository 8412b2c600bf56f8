"""Code of a run: the `python` tool, its sandbox session, and the calls that code makes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dspy.lm15 import FunctionTool

from corral.agents.cellhost import CellHost
from corral.agents.celloutcome import CELL, CellOutcome, check_same
from corral.agents.effects import Effects
from corral.agents.files import fetch
from corral.agents.media import showable
from corral.agents.recorded import RecordedSteps
from corral.agents.result import Refusal
from corral.agents.signature import InvalidOutputs, as_text
from corral.agents.toolcalls import ToolCalls
from corral.policy import BudgetExceeded, CellFinished, CellOutput, CellStarted, Denied, Emitter
from corral.sandbox import (
    Artifact,
    CellErrorKind,
    Execution,
    Host,
    Network,
    Sandbox,
    SandboxError,
    SandboxProvider,
    SandboxSpec,
)
from corral.tools import Media, Observation, Tool, Toolbox

__all__ = ["PYTHON", "CellOutcome", "Cells", "code_instructions"]

PYTHON = FunctionTool(
    name="python",
    description="Run Python code in the sandbox. Names stay defined for the next call. "
    "You see what it prints and the value of its last expression.",
    parameters={
        "type": "object",
        "properties": {"code": {"type": "string", "description": "Python source"}},
        "required": ["code"],
    },
)


def code_instructions(tools: Sequence[Tool], provider: SandboxProvider, network: Network | None = None) -> str:
    """What the system prompt says about code."""
    parts = [f"Work by running Python with the tool `python`. {provider.instructions}"]
    if network is not None:
        parts.append(network.instructions)
    if tools:
        parts.append("These functions are defined there; call them by name, print what you need to see:")
        parts.extend(tool.signature() for tool in tools)
    return "\n\n".join(parts)


class Cells:
    """The cells of one run: one sandbox session, opened at the first cell and closed with the run.

    In a resumed run, cells that ended before are not run as long as no new one needs their names; then they are, in a
    fresh session, against the calls that they made before.

    Args:
        outputs: Parameter names of SUBMIT.
        variables: Names that a session has from its first cell on, JSON.
        files: What is in its folder then, by name.
        file_outputs: Outputs that code submits as names of files there.
        timeout: Seconds of a cell's own time.
        most_chars: For those who call it; `calls` cuts what the model sees.
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
        variables: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        file_outputs: frozenset[str] = frozenset(),
    ) -> None:
        self._provider = provider
        self._toolbox = toolbox
        self._calls = calls
        self._effects = effects
        self._emitter = emitter
        self._outputs = outputs
        self._variables = variables
        self._files = files or {}
        self._file_outputs = file_outputs
        self._are_bound = False
        self.artifacts: list[Artifact] = []
        """What cells displayed, those of an earlier process aside."""
        self._timeout = timeout
        self._session: Sandbox | None = None
        self._made = 0
        self._to_run_again: list[tuple[str, str, CellOutcome]] = []

    async def run(self, arguments: dict[str, Any]) -> CellOutcome:
        """Run one cell; never raises for what the code did.

        Raises:
            SandboxError: There is no sandbox to run it in.
            ReplayDiverged: The run was resumed, and the names of its earlier cells can't be had back.
        """
        code = arguments.get("code")
        if not isinstance(code, str) or set(arguments) != {"code"}:
            return CellOutcome('python takes one argument, "code", a string', is_error=True)
        self._made += 1
        cell = f"cell/{self._made}"
        if (kept := self._effects.steps.recorded(cell)) is not None:
            return self._recall(cell, code, CELL.load(kept))
        session = await self._opened()
        await self._run_again(session)
        sandbox = f"{session.name} {session.id}"
        self._emitter.emit(CellStarted(cell=cell, code=code, sandbox=sandbox))
        started = time.perf_counter()
        outcome = await self._fetched(session, await self._execute(session, code, cell))
        if (around := self._effects.around) is not None and around.hooks.wants("after_cell"):
            text = await around.after_cell(cell, code, outcome.text)
            outcome = outcome if text == outcome.text else replace(outcome, text=text, printed=outcome.text)
        await self._effects.steps.record(cell, CELL.dump(outcome))
        self._tell(cell, sandbox, outcome, time.perf_counter() - started)
        return outcome

    async def submitted(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs that were submitted by name, with the files that they name.

        Raises:
            InvalidOutputs: There is no such file.
            SandboxError: There is no sandbox to look into.
            ReplayDiverged: The run was resumed, and what its earlier cells made can't be had back.
        """
        if not self._file_outputs & outputs.keys():
            return dict(outputs)
        session = await self._opened()
        await self._run_again(session)
        return await fetch(session, outputs, self._file_outputs)

    async def _fetched(self, session: Sandbox, outcome: CellOutcome) -> CellOutcome:
        if outcome.submitted is None or not self._file_outputs & outcome.submitted.keys():
            return outcome
        try:
            return replace(outcome, submitted=await fetch(session, outcome.submitted, self._file_outputs))
        except InvalidOutputs as error:
            text = f"{outcome.text}\nSUBMIT: {error}".lstrip()
            return replace(outcome, submitted=None, text=text, is_error=True)

    async def close(self) -> None:
        """End the session; closing twice is fine."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> Sandbox:
        if self._session is None:
            spec = SandboxSpec(label=self._emitter.run_id[:12], network=self._effects.cells.network(self._provider))
            self._session = await self._provider.open(spec)
            self._are_bound = False
            for name, data in self._files.items():
                await self._session.put(name, data)
        return self._session

    def _recall(self, cell: str, code: str, outcome: CellOutcome) -> CellOutcome:
        """A cell that an earlier process ran to its end."""
        self._emitter.emit(CellStarted(cell=cell, code=code, sandbox=""))
        if not outcome.names_kept:
            self._to_run_again.clear()
        elif outcome.ran:
            self._to_run_again.append((cell, code, outcome))
        steps = self._effects.steps
        made = 0
        if isinstance(steps, RecordedSteps):
            made = steps.calls(f"{cell}/")
            self._effects.charge_below(steps.below(f"{cell}/"))
            self._effects.provenance.read(steps.label(f"{cell}/"))
        self._effects.cells.charge_calls(made + outcome.ran)
        self._tell(cell, "", outcome, 0.0)
        return outcome

    async def _run_again(self, session: Sandbox) -> None:
        while self._to_run_again:
            cell, code, before = self._to_run_again[0]
            host = CellHost(self._toolbox, self._calls, self._effects.steps, cell, again=True)
            outcome = await self._execute(session, code, cell, host)
            if host.diverged is not None:
                raise host.diverged
            check_same(cell, before, outcome)
            self._to_run_again.pop(0)

    def _tell(self, cell: str, sandbox: str, outcome: CellOutcome, seconds: float) -> None:
        self._effects.cells.printed(outcome.text)
        self._emitter.emit(CellOutput(cell=cell, text=outcome.text))
        self._emitter.emit(CellFinished(cell=cell, sandbox=sandbox, seconds=seconds, error=outcome.error))

    async def _execute(self, session: Sandbox, code: str, cell: str, host: CellHost | None = None) -> CellOutcome:
        host = host or CellHost(self._toolbox, self._calls, self._effects.steps, cell)
        with host.scope:
            try:
                execution = await self._effects.cells.execute(
                    session,
                    code,
                    self._timeout,
                    Host(tuple(t.name for t in self._toolbox.tools), host.call, self._outputs),
                    cell,
                    variables=None if self._are_bound else self._variables,
                    again=host.again,
                )
            except (Denied, BudgetExceeded) as error:
                denied = (Refusal.of(error),) if isinstance(error, Denied) else ()
                return CellOutcome(f"not run: {error}", is_error=True, error="denied", ran=False, denied=denied)
            except SandboxError as error:
                await self.close()
                lost = (
                    "the sandbox was lost, and with it what earlier cells defined; a new one starts with the next cell"
                )
                return CellOutcome(
                    f"{error}; {lost}",
                    is_error=True,
                    error=type(error).__name__,
                    names_kept=False,
                    denied=tuple(host.denied),
                )
            if host.diverged is not None and not host.again:
                raise host.diverged
            # A cell that ran past its time, or crashed, is rolled back, and what it was given with it.
            ended = execution.error is None or execution.error.kind is CellErrorKind.ERROR
            self._are_bound = (self._are_bound or ended) and execution.state_kept
            if not host.again:
                self.artifacts.extend(execution.artifacts)
            return self._told(execution, host)
        if host.diverged is not None:
            raise host.diverged
        stopped = "the cell was stopped: it went on calling after it was refused"
        unknown, denied = tuple(host.unknown), tuple(host.denied)
        return CellOutcome(stopped, is_error=True, error="stopped", unknown=unknown, denied=denied)

    def _told(self, execution: Execution, host: CellHost) -> CellOutcome:
        parts = [execution.output.rstrip("\n")] if execution.output else []
        if execution.value is not None:
            parts.append(as_text(execution.value))
        if (error := execution.error) is not None:
            parts.append(error.traceback.rstrip() or error.message)
            if error.kind is CellErrorKind.TIMEOUT and error.message not in parts[-1]:
                parts.append(error.message)
            if not execution.state_kept:
                parts.append("(what earlier cells defined is lost)")
        text = self._calls.shown(
            PYTHON.name, Observation(self._effects.redacted("\n".join(parts)), label=self._effects.cells.from_code)
        )
        return CellOutcome(
            text,
            error is not None,
            execution.submitted,
            error.kind.value if error else None,
            names_kept=execution.state_kept,
            unknown=tuple(host.unknown),
            denied=tuple(host.denied),
            media=showable([Media.of(shown.data, shown.media_type) for shown in execution.artifacts]),
        )
