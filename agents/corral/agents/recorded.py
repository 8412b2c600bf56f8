"""Steps that a journal keeps: a run that was killed goes on after the last one that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from corral.agents.caller import Below
from corral.agents.errors import UnknownOutcome
from corral.agents.journal import Journal
from corral.agents.records import RunRecord, StoredStep
from corral.agents.steps import AT_STEP, Codec, Effect, InlineSteps, Steps, json_codec
from corral.agents.stored import refusal_from_json
from corral.policy import (
    Approval,
    ApprovalAsked,
    ApprovalGiven,
    ApprovalRequest,
    Approver,
    Emitter,
    Event,
    Label,
    ResumeWarned,
    RunFinished,
    RunStarted,
    Sink,
    TextDelta,
)

__all__ = ["ContinuedEmitter", "RecordedApprover", "RecordedSteps"]

T = TypeVar("T")


class RecordedSteps(InlineSteps):
    """Steps whose results are written to a journal, and handed back when the run is run again.

    A step with the effect "once" is written down before it runs, and waits until that is on disk; so it is never run
    twice, also if the process dies in the middle.

    Args:
        stored: Steps that an earlier process ran.
        when_live: Called when the first step runs that is not among them.
    """

    def __init__(
        self,
        journal: Journal,
        run_id: str,
        stored: Mapping[str, StoredStep] | None = None,
        when_live: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(run_id)
        self._journal = journal
        self._stored = dict(stored or {})
        self._when_live = when_live

    def calls(self, prefix: str) -> int:
        """How many of the stored steps whose names begin so were let through."""
        return sum(refusal_from_json(self._stored[name].data) is None for name in self.names(prefix))

    def below(self, prefix: str) -> Below:
        """What the runs below those steps have cost."""
        below = Below()
        for name in self.names(prefix):
            below.join(Below.from_json(self._stored[name].data))
        return below

    def label(self, prefix: str) -> Label:
        """Of all that those steps have read."""
        found = (self._stored[name].data for name in self.names(prefix))
        return Label.join_all(Label.from_json(data["label"]) for data in found if data and "label" in data)

    def names(self, prefix: str) -> set[str]:
        """The stored steps whose names begin so."""
        return {name for name in self._stored if name.startswith(prefix)}

    async def call(self, name: str, fn: Callable[[], Awaitable[T]], *, codec: Codec[T], effect: Effect) -> T:
        if (data := self.recorded(name)) is not None:
            return codec.load(data)
        self._live()
        if effect == "once":
            self._journal.keep(self.run_id, name, None)
            await self._journal.kept()
        value = await fn()
        self._journal.keep(self.run_id, name, codec.dump(value))
        if effect == "once":
            await self._journal.kept()
        return value

    def recorded(self, name: str) -> Any | None:
        step = self._stored.get(name)
        if step is None:
            return None
        if not step.is_done:
            raise UnknownOutcome(name)
        return step.data

    async def record(self, name: str, data: Any) -> None:
        if name not in self._stored:
            self._live()
            self._journal.keep(self.run_id, name, data)

    def _live(self) -> None:
        if self._when_live is not None:
            self._when_live()
            self._when_live = None


class RecordedApprover:
    """A person's answers as steps: who answered before a crash is not asked again about the same step."""

    def __init__(self, approver: Approver, steps: Steps) -> None:
        self._approver = approver
        self._steps = steps

    async def decide(self, request: ApprovalRequest) -> Approval:
        approval = await self._steps.call(
            f"approval/{AT_STEP.get()}", lambda: self._approver.decide(request), codec=_APPROVAL, effect="read"
        )
        return approval if approval.digest == request.digest else await self._approver.decide(request)


_APPROVAL: Codec[Approval] = json_codec(Approval)

_NOT_AGAIN: frozenset[type[Event]] = frozenset(
    (RunStarted, RunFinished, ResumeWarned, TextDelta, ApprovalAsked, ApprovalGiven)
)
"""Events that a replay does not bring about a second time, or that should stand twice."""


class ContinuedEmitter(Emitter):
    """An emitter that goes on where an earlier process stopped: what was emitted before is left out, until `live`."""

    def __init__(self, record: RunRecord, sinks: tuple[Sink, ...]) -> None:
        super().__init__(record.run_id, sinks)
        self._seq = record.last_seq
        self._before: Counter[str] = Counter(record.events)

    def live(self) -> None:
        """From now on everything is new."""
        self._before.clear()

    def is_repeated(self, kind: type[Event]) -> bool:
        if kind in _NOT_AGAIN or self._before[kind.__name__] == 0:
            return False
        self._before[kind.__name__] -= 1
        return True

    def emit(self, event: Event) -> None:
        if not self.is_repeated(type(event)):
            super().emit(event)
