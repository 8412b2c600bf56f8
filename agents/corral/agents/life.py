"""A run's life: its id, who hears of it, and what of it survives the process."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic_core import to_jsonable_python

from corral.agents.additions import added
from corral.agents.errors import JournalError
from corral.agents.journal import Journal
from corral.agents.media import media_as_json
from corral.agents.recorded import ContinuedEmitter, RecordedApprover, RecordedSteps
from corral.agents.records import SINCE, TRACES, Opening, RunRecord
from corral.agents.start import Start
from corral.agents.steps import InlineSteps, Steps
from corral.policy import Approver, Emitter, RunStarted, Sink, SourceFailed, Traces

__all__ = ["Life"]


@dataclass(frozen=True)
class Life:
    """What one run is made of beside its agent: a new one, or one that goes on in another process.

    Attributes:
        seconds: How long it ran before it was resumed.
        traces: What the conversation so far has read.
        heard: How many of the messages before the task the journal has from an earlier run.
    """

    steps: Steps
    emitter: Emitter
    start: Start
    inputs: dict[str, Any]
    journal: Journal | None
    heard: int = 0
    seconds: float = 0.0
    traces: Traces = field(default_factory=Traces)

    @classmethod
    def of(cls, start: Start, inputs: Mapping[str, Any], journal: Journal | None, sinks: Sequence[Sink]) -> Self:
        """A life for `start`.

        Raises:
            JournalError: The run to be resumed still goes on.
        """
        shown: dict[str, Any] = to_jsonable_python(media_as_json(inputs), fallback=str)
        others = (*sinks, *start.sinks)
        heard_by = others if journal is None or journal in others else (journal, *others)
        if journal is not None and start.resumed is not None:
            return cls._continued(start, shown, journal, heard_by, start.resumed)
        run_id = start.run_id or uuid.uuid4().hex
        steps: Steps = start.steps or InlineSteps(run_id)
        if start.steps is None and journal is not None:
            steps = RecordedSteps(journal, run_id)
        heard = start.heard if journal is not None else 0
        traces = _traces(start, Traces.unknown("session") if start.messages else Traces())
        return cls(steps, Emitter(run_id, heard_by), start, shown, journal, heard, traces=traces)

    @classmethod
    def _continued(
        cls, start: Start, inputs: dict[str, Any], journal: Journal, sinks: tuple[Sink, ...], record: RunRecord
    ) -> Self:
        record.check_over()
        emitter = ContinuedEmitter(record, sinks)
        steps = RecordedSteps(journal, record.run_id, journal.steps(record.run_id), emitter.live)
        heard = len(start.messages)
        start.messages.extend(record.messages)
        traces = _traces(start, record.traces)
        return cls(steps, emitter, start, inputs, journal, heard, record.seconds, traces)

    def keep(self) -> None:
        """Keep what the run has read, for the next turn of its session; what can't be kept is then untrusted."""
        if self.journal is not None and self.start.session_id is not None:
            with suppress(JournalError):
                self.journal.keep(self.run_id, TRACES, self._traces_to_keep())

    @property
    def run_id(self) -> str:
        return self.emitter.run_id

    @property
    def is_resumed(self) -> bool:
        """Whether it goes on from where an earlier process stopped."""
        return self.start.resumed is not None

    @property
    def session_id(self) -> str | None:
        """The session that a person sees: of the run, or of the one that it works for."""
        caller = self.start.caller
        return self.start.session_id or (caller.life.session_id if caller is not None else None)

    def principals(self, name: str) -> tuple[str, ...]:
        """The agents from the first one that had it delegated down to this run's own."""
        caller = self.start.caller
        return (*(caller.principals if caller is not None else ()), f"agent:{name}")

    def approver(self, approver: Approver | None) -> Approver | None:
        """The approver, whose answers are steps where steps are kept."""
        if approver is None or type(self.steps) is InlineSteps:
            return approver
        return RecordedApprover(approver, self.steps)

    def begin(self, agent: str, model: str, kind: str, missing: Mapping[str, str]) -> None:
        """Note that the run begins, or goes on, and which sources of tools are `missing`, and why."""
        start = self.start
        if self.journal is not None and start.resumed is None:
            before = start.messages[self.heard :]
            traces = self._traces_to_keep() if start.session_id is not None else None
            self.journal.begin(
                Opening(self.run_id, self.inputs, tuple(before), start.session_id, start.previous, traces)
            )
        caller = start.caller
        above = (caller.life.run_id, caller.step) if caller is not None else (None, None)
        self.emitter.emit(
            RunStarted(
                agent=agent,
                model=model,
                kind=kind,
                inputs=self.inputs,
                parent_run_id=above[0],
                parent_step=above[1],
            )
        )
        for source, problem in missing.items():
            self.emitter.emit(SourceFailed(source=source, problem=problem))

    def _traces_to_keep(self) -> dict[str, Any]:
        """As JSON; where the run goes on from another of the journal, only what came since."""
        start, now = self.start, self.traces.to_json()
        if start.kept is None or start.previous is None or start.resumed is not None:
            return now
        return {SINCE: added(start.kept, now)}


def _traces(start: Start, otherwise: Traces) -> Traces:
    """What a run goes on from: its session, or as it was when the run that it works for called it."""
    if start.caller is not None:
        return start.caller.traces.copy()
    return start.traces or otherwise
