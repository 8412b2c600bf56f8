"""A run's life: its id, who hears of it, and what of it survives the process."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from corral.agents.additions import added
from corral.agents.caller import Caller
from corral.agents.errors import AgentChanged, JournalError
from corral.agents.journal import Journal
from corral.agents.makeup import Makeup
from corral.agents.media import as_json
from corral.agents.recorded import ContinuedEmitter, RecordedApprover, RecordedSteps
from corral.agents.records import SINCE, TRACES, Opening, RunRecord
from corral.agents.start import Start
from corral.agents.steps import InlineSteps, Steps
from corral.agents.terms import Terms
from corral.policy import Approver, Emitter, Gate, ResumeWarned, RunStarted, Sink, SourceFailed, Traces

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
    terms: Terms
    inputs: dict[str, Any]
    heard: int = 0
    seconds: float = 0.0
    traces: Traces = field(default_factory=Traces)

    @classmethod
    def of(cls, terms: Terms, inputs: Mapping[str, Any]) -> Self:
        """A life on these terms.

        Raises:
            JournalError: The run to be resumed still goes on.
        """
        shown: dict[str, Any] = as_json(inputs)
        start, journal = terms.start, terms.given.journal
        others = (*terms.given.sinks, *start.sinks)
        heard_by = others if journal is None or journal in others else (journal, *others)
        if journal is not None and start.resumed is not None:
            return cls._continued(terms, shown, journal, heard_by, start.resumed)
        run_id = start.run_id or uuid.uuid4().hex
        steps: Steps = start.steps or InlineSteps(run_id)
        if start.steps is None and journal is not None:
            steps = RecordedSteps(journal, run_id)
        heard = start.heard if journal is not None else 0
        traces = _traces(terms, Traces.unknown("session") if start.messages else Traces())
        return cls(steps, Emitter(run_id, heard_by), terms, shown, heard, traces=traces)

    @classmethod
    def _continued(
        cls, terms: Terms, inputs: dict[str, Any], journal: Journal, sinks: tuple[Sink, ...], record: RunRecord
    ) -> Self:
        record.check_over()
        emitter = ContinuedEmitter(record, sinks)
        steps = RecordedSteps(journal, record.run_id, journal.steps(record.run_id), emitter.live)
        heard = len(terms.start.messages)
        terms.start.messages.extend(record.messages)
        return cls(steps, emitter, terms, inputs, heard, record.seconds, _traces(terms, record.traces))

    @property
    def start(self) -> Start:
        return self.terms.start

    @property
    def journal(self) -> Journal | None:
        return self.terms.given.journal

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
        caller = self.terms.caller
        return self.start.session_id or (caller.session_id if caller is not None else None)

    def caller(self, gate: Gate) -> Caller:
        """The run, as those see it that start below it."""
        terms, above = self.terms, self.terms.caller
        principals = (*(above.principals if above is not None else ()), f"agent:{terms.given.name}")
        return Caller(
            terms.given, gate, terms.mode, self.start, self.steps, self.run_id, self.session_id, self.inputs, principals
        )

    def approver(self, approver: Approver | None) -> Approver | None:
        """The approver, whose answers are steps where steps are kept."""
        if approver is None or type(self.steps) is InlineSteps:
            return approver
        return RecordedApprover(approver, self.steps)

    def check(self, makeup: Makeup, failures: Mapping[str, str]) -> tuple[str, ...]:
        """What has changed of the agent since the run began, where that does no harm.

        Args:
            failures: What of the agent's tools can't be used now, by name.

        Raises:
            AgentChanged: It can't go on so.
        """
        if self.journal is None or (record := self.start.resumed) is None:
            return ()
        before = Makeup.from_json(record.made)
        missing, since = makeup.missing(before, self.journal.used(record.run_id))
        if not missing:
            return () if before is None else makeup.changes(before)
        caller = self.terms.caller
        step = since - 1 if caller is None else None
        error = AgentChanged(record.run_id, record.agent, (*missing, *failures.values()), step)
        if caller is not None:
            caller.below.changed = error
        raise error

    def begin(
        self,
        agent: str,
        model: str,
        kind: str,
        makeup: Makeup,
        *,
        missing: Mapping[str, str],
        changes: tuple[str, ...] = (),
    ) -> None:
        """Note that the run begins, or goes on.

        Args:
            missing: Sources of tools that could not be opened, and why.
            changes: What of the agent is not as it was when the run began.
        """
        start = self.start
        if self.journal is not None and start.resumed is None:
            before = start.messages[self.heard :]
            traces = self._traces_to_keep() if start.session_id is not None else None
            self.journal.begin(
                Opening(
                    self.run_id,
                    self.inputs,
                    tuple(before),
                    start.session_id,
                    start.previous,
                    traces,
                    makeup.to_json(),
                )
            )
        caller = self.terms.caller
        above = (caller.run_id, caller.step) if caller is not None else (None, None)
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
        if changes and self.journal is not None:
            self.journal.remade(self.run_id, makeup.to_json())
            self.emitter.emit(ResumeWarned(changes=changes))

    def _traces_to_keep(self) -> dict[str, Any]:
        """As JSON; where the run goes on from another of the journal, only what came since."""
        start, now = self.start, self.traces.to_json()
        if start.kept is None or start.previous is None or start.resumed is not None:
            return now
        return {SINCE: added(start.kept, now)}


def _traces(terms: Terms, otherwise: Traces) -> Traces:
    """What a run goes on from: its session, or as it was when the run that it works for called it."""
    if terms.caller is not None:
        return terms.caller.traces.copy()
    return terms.start.traces or otherwise
