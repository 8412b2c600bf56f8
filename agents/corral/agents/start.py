"""What a run starts from, beside its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dspy.lm15 import Message

from corral.agents.records import RunRecord
from corral.agents.steps import Steps
from corral.policy import Sink, Traces

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        messages: The conversation so far; the run adds to this very list, so that it is there even if the run is
            cancelled.
        previous: The run of the agent's journal whose conversation those messages begin with.
        heard: How many of them that is.
        resumed: The run that goes on, as its journal knows it.
        run_id: A name from outside; a fresh one by default.
        steps: What makes the run durable, where it is not the agent's journal.
        traces: What the conversation so far has read; the run adds to them. None is nothing, or where there are
            messages, nobody knows what.
        kept: What of that the journal has, as JSON, with the run `previous`.
    """

    sinks: tuple[Sink, ...] = ()
    stream_text: bool = False
    messages: list[Message] = field(default_factory=list[Message])
    session_id: str | None = None
    previous: str | None = None
    heard: int = 0
    resumed: RunRecord | None = None
    run_id: str | None = None
    steps: Steps | None = None
    traces: Traces | None = None
    kept: Mapping[str, Any] | None = None
