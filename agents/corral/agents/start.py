"""What a run starts from, beside its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dspy.lm15 import Message

from corral.agents.errors import DefinitionError
from corral.agents.journal import Journal
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

    def resuming(self, journal: Journal, record: RunRecord) -> Start:
        """The same, for a run of the journal that goes on, after the turns of its session.

        Raises:
            DefinitionError: It works for another run, which has to be resumed.
        """
        run_id, above = record.run_id, journal.delegated_by(record.run_id)
        if above is not None and above in journal:
            raise DefinitionError(f"the run {run_id} works for the run {above}; resume that one, and it goes on too")
        if record.previous and not self.messages:
            self.messages.extend(journal.messages(record.previous))
        return replace(self, resumed=record, session_id=record.session_id)
