"""What a chat has cost, and how far its run may still go."""

from __future__ import annotations

from corral.policy import Consolidated, Event, ModelCalled, RunFinished, RunStarted, StepStarted, ToolReturned, Usage

__all__ = ["Ledger", "added"]


class Ledger:
    """A sink that adds up model calls, tokens and money of the turns made here."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.last = Usage()
        """Of the newest model call: its prompt is what the conversation is now."""
        self.model_calls = 0
        self.tool_calls = 0
        self.turns = 0
        self.seconds = 0.0
        self.step = 0
        """Of the run that goes on, or the last one."""
        self._run = ""

    def emit(self, event: Event) -> None:
        match event:
            case RunStarted():
                if event.parent_run_id is None:
                    self._run, self.step = event.run_id, 0
                    self.turns += 1
            case StepStarted():
                if event.run_id == self._run:
                    self.step = event.step
            case ModelCalled():
                self.model_calls += 1
                self.last = event.usage
                self.usage = added(self.usage, event.usage)
            case Consolidated():
                self.model_calls += event.model_calls
                self.usage = added(self.usage, event.usage)
            case ToolReturned():
                self.tool_calls += 1
            case RunFinished():
                if event.run_id == self._run:
                    self.seconds += event.seconds
            case _:
                pass


def added(one: Usage, other: Usage) -> Usage:
    """Both together; the money is that of those whose price is known."""
    known = [usage.cost_usd for usage in (one, other) if usage.cost_usd is not None]
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
        sum(known) if known else None,
    )
