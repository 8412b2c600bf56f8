"""The vocabulary of what happens in a run: every room emits these, and everything shown or stored derives from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

from corral.policy.label import Label

__all__ = [
    "ApprovalAsked",
    "ApprovalGiven",
    "BudgetWarned",
    "CellFinished",
    "CellOutput",
    "CellStarted",
    "Compacted",
    "Consolidated",
    "ConsolidationStarted",
    "Emitter",
    "Event",
    "Intervened",
    "MessageAdded",
    "ModelCalled",
    "Planned",
    "Recalled",
    "Remembered",
    "ResumeWarned",
    "RunFinished",
    "RunStarted",
    "ServerLogged",
    "Sink",
    "SourceFailed",
    "StepStarted",
    "TextDelta",
    "ToolCalled",
    "ToolProgressed",
    "ToolReturned",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of one or several model calls; a server that reports nothing counts as estimated.

    Attributes:
        cached_tokens: The part of `input_tokens` that the server took from its prompt cache.
        cost_usd: US dollars, or None when the model's price is not known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        known = self.cost_usd is not None or other.cost_usd is not None
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes:
        run_id: The run; stamped by the emitter, as are the others.
        seq: 1, 2, 3 ... within the run.
        at: Seconds since the epoch.
    """

    type: ClassVar[str] = "event"

    run_id: str = ""
    seq: int = 0
    at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values, with its `type`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"type": type(self).__name__, **{name: _plain(value) for name, value in values.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began; `inputs` are the task's, as JSON.

    Attributes:
        parent_run_id: The run that delegated it, in its step `parent_step`.
    """

    agent: str
    model: str
    kind: str
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parent_run_id: str | None = None
    parent_step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeWarned(Event):
    """A run goes on with an agent that is not all that it was when it began; each of `changes` says what."""

    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFailed(Event):
    """The run does without some tools.

    Attributes:
        source: A source that could not be opened, such as "time", or a tool of one that was left out, "time/now".
    """

    source: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    """The model is about to be asked, for the `step`th time, 1-based."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(Event):
    """The model said a piece of text."""

    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalled(Event):
    """The model answered; `usage` is of this call alone."""

    step: int
    model: str
    usage: Usage
    seconds: float
    finish_reason: str
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAdded(Event):
    """A message joined the conversation; `message` is lm15's own lossless JSON of it."""

    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """A call was proposed, by the model or by code in cell `cell`; it has not passed the gate yet."""

    call_id: str
    tool: str
    arguments: Mapping[str, Any]
    cell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgressed(Event):
    """A call goes on, as its server tells; `message` is untrusted text, `total` None if the server does not know."""

    call_id: str
    tool: str
    done: float
    total: float | None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLogged(Event):
    """A server logged a line while the call went on; `text` is untrusted.

    Attributes:
        level: MCP's, from "debug" to "emergency".
    """

    call_id: str
    server: str
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned(Event):
    """A call ended; `content` is what the model (or the cell) is given.

    Attributes:
        outcome: "ok", "error" (the tool or its arguments failed), "denied", "limit" or "cancelled".
    """

    call_id: str
    tool: str
    content: str
    outcome: str
    seconds: float
    label: Label
    cell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStarted(Event):
    """A piece of code is about to run in a sandbox."""

    cell: str
    code: str
    sandbox: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOutput(Event):
    """What a cell printed, cut as the model sees it."""

    cell: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFinished(Event):
    """A cell ended; `error` is None when it succeeded."""

    cell: str
    sandbox: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked(Event):
    """A person is asked whether an action may happen."""

    digest: str
    resource: str
    verb: str
    arguments: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven(Event):
    """The person, or the lack of one, answered."""

    digest: str
    granted: bool
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """The run's plan of tools was frozen, before anything was read.

    Attributes:
        tools: The tools with effects that it may use, as policies name them, and no others.
        offered: Of how many they were chosen.
        undescribed: Tools that no plan can have, as nobody whom the user trusts describes them.
        problem: Why there is none, for a person; then nothing with effects happens.
    """

    tools: Sequence[str]
    offered: int
    undescribed: Sequence[str] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Event):
    """Memories were put before the model."""

    query: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered(Event):
    """Turns were written to memory."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolidationStarted(Event):
    """A model is about to be asked for facts in so many turns, or in more; see `Consolidated`."""

    turns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidated(Event):
    """Facts were drawn from what was remembered, after a run and in none: `run_id` is the consolidation's own.

    Attributes:
        turns: How many were gone through.
        facts: How many were stored; what was known already is not counted.
        detail: Why it did not go on to the end, for a person; empty if it did.
    """

    turns: int
    facts: int
    model_calls: int
    usage: Usage
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """Old steps were replaced by a summary."""

    tokens_before: int
    tokens_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarned(Event):
    """A limit is reached: the model is asked for its final answer from what it has."""

    limit: str
    spent: float
    cap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervened(Event):
    """A guard or a hook changed or stopped something, noted something, or failed.

    Attributes:
        by: "guard:NAME" or "plugin:NAME".
        point: "input", "output", or where in the run, such as "before_tool".
        outcome: "block", "redact", "flag", "veto", "replace" or "failed".
    """

    by: str
    point: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The run ended; `reason` is one of `corral.agents.StopReason`.

    Attributes:
        repairs: Answers of the model that could not be used as they were.
    """

    reason: str
    outputs: Mapping[str, Any] | None
    usage: Usage
    steps: int
    tool_calls: int
    seconds: float
    detail: str = ""
    repairs: int = 0


class Sink(Protocol):
    """Whoever wants to know what happens. `emit` must return at once; slow readers buffer on their own side."""

    def emit(self, event: Event) -> None: ...


class Emitter:
    """Stamps the events of one run with its id, a number and the time, and hands them to every sink, in order."""

    def __init__(self, run_id: str, sinks: tuple[Sink, ...], clock: Callable[[], float] = time.time) -> None:
        self.run_id = run_id
        self._sinks = sinks
        self._clock = clock
        self._seq = 0
        self.active = bool(sinks)
        """Whether anyone listens; without, events that cost something to make need not be made."""

    def is_repeated(self, kind: type[Event]) -> bool:
        """Whether the next event of this kind was told before, and need not be made; then it counts as told again."""
        return False

    def emit(self, event: Event) -> None:
        """Stamp `event` and pass it on; the event must be fresh, it is stamped in place."""
        self._seq += 1
        # Frozen for everyone else: before this moment nobody but the maker has seen the event.
        object.__setattr__(event, "run_id", self.run_id)
        object.__setattr__(event, "seq", self._seq)
        object.__setattr__(event, "at", self._clock())
        for sink in self._sinks:
            sink.emit(event)


def _plain(value: Any) -> Any:
    if isinstance(value, Label):
        return {
            "integrity": value.integrity.name.lower(),
            "confidentiality": value.confidentiality.name.lower(),
            "sources": sorted(value.sources),
            "readers": None if value.readers is None else sorted(value.readers),
        }
    if isinstance(value, Usage):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return value
