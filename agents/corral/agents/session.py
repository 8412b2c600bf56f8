"""Sessions: turns that belong together."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from dspy.lm15 import Message, ToolCallPart

from corral.agents.agent import Agent, Start
from corral.agents.result import Result
from corral.agents.stream import stream_events
from corral.policy import Event, Sink

__all__ = ["Session"]


class Session:
    """A conversation with an agent: each turn is a run that sees the turns before it. One turn at a time.

    Args:
        id: Names the session in memory; a fresh one by default.
        messages: Turns from before, such as a journal's.
        sinks: Who else hears the events of each turn, at once and in order.
        stream_text: Whether they hear text as it arrives.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        id: str | None = None,
        messages: Sequence[Message] = (),
        sinks: Sequence[Sink] = (),
        stream_text: bool = False,
    ) -> None:
        self.agent = agent
        self._sinks = tuple(sinks)
        self._stream_text = stream_text
        self.id = id or uuid.uuid4().hex
        self.messages: list[Message] = list(messages)

    async def run(self, task: Any = None, /, **inputs: Any) -> Result:
        """The next turn; see `Agent.run`."""
        return await self._turn(task, inputs, (), stream_text=self._stream_text)

    def stream(self, task: Any = None, /, **inputs: Any) -> AsyncGenerator[Event]:
        """The next turn as a stream; see `Agent.stream`."""
        return stream_events(lambda sink: self._turn(task, inputs, (sink,), stream_text=True))

    def clear(self) -> None:
        """Forget the turns of this conversation; what the agent's memory keeps stays."""
        self.messages.clear()

    async def _turn(self, task: Any, inputs: dict[str, Any], sinks: tuple[Sink, ...], *, stream_text: bool) -> Result:
        start = Start((*self._sinks, *sinks), stream_text, self.messages, self.id)
        try:
            return await self.agent.start(task, inputs, start)
        finally:
            _drop_unanswered(self.messages)


def _drop_unanswered(messages: list[Message]) -> None:
    """A turn that was cut off may end with calls that have no results; no model takes such a conversation."""
    while messages and any(isinstance(part, ToolCallPart) for part in messages[-1].parts):
        messages.pop()
