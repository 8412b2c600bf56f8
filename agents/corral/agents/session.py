"""Sessions: turns that belong together."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dspy.lm15 import Message, ToolCallPart

from corral.agents.agent import Agent
from corral.agents.compaction import compact
from corral.agents.errors import DefinitionError, JournalError
from corral.agents.journal import Journal
from corral.agents.result import Result
from corral.agents.start import Start
from corral.agents.stream import stream_events
from corral.agents.tokens import message_tokens
from corral.policy import Endorsement, Event, Integrity, Sink, Traces

__all__ = ["Session"]


@dataclass(frozen=True)
class _Kept:
    """How far the agent's journal holds the conversation: the run that ends there, the messages up to it, and what was
    read for them, as JSON."""

    run_id: str
    messages: tuple[Message, ...]
    traces: Mapping[str, Any]

    def begins(self, messages: Sequence[Message]) -> bool:
        return len(messages) >= len(self.messages) and all(
            kept is message for kept, message in zip(self.messages, messages, strict=False)
        )


class Session:
    """A conversation with an agent: each turn is a run that sees the turns before it. One turn at a time.

    Where the agent has a journal, the session can be had back from it with `load`.

    Args:
        id: Names the session in memory and journal; a fresh one by default.
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
        self._kept: _Kept | None = None
        self._turns: list[tuple[Message, ...]] = []
        self._traces = Traces.unknown("session") if messages else Traces()
        self._loaded: str | None = None
        """The run of the journal before the first of `_turns`, as far as nothing was taken back."""

    @classmethod
    def load(cls, agent: Agent, id: str, *, sinks: Sequence[Sink] = (), stream_text: bool = False) -> Self:
        """A session of the agent's journal, after its last turn.

        A turn that was killed is not in it; `unfinished` names its run, for `Agent.resume`, or `resume` here.

        Raises:
            DefinitionError: The agent has no journal.
            JournalError: It has no such session.
        """
        session = cls(agent, id=id, sinks=sinks, stream_text=stream_text)
        journal = session._journal()
        last = journal.last_run(id)
        if last is None:
            raise JournalError(f"the journal {journal.path} has no session {id}")
        until = last["previous"] if journal.is_cut_off(last) else last["run_id"]
        if until is not None:
            session.messages = journal.messages(until)
            session._traces = journal.traces(until)
            session._kept = _Kept(until, tuple(session.messages), session._traces.to_json())
            session._loaded = until
            _drop_unanswered(session.messages)
        return session

    @property
    def unfinished(self) -> str | None:
        """The run of the last turn, if it was cut off, or left while a person was asked; None without a journal."""
        journal = self.agent.journal
        last = None if journal is None else journal.last_run(self.id)
        return last["run_id"] if journal is not None and last is not None and journal.is_cut_off(last) else None

    async def run(self, task: Any = None, /, **inputs: Any) -> Result:
        """The next turn; see `Agent.run`."""
        return await self._turn(
            lambda start: self.agent.start(task, inputs, start), self._start((), stream_text=self._stream_text)
        )

    async def resume(self) -> Result:
        """Go on with the turn that was cut off; see `Agent.resume`.

        Raises:
            DefinitionError: There is none, or the agent has no journal.
        """
        self._journal()
        if (run_id := self.unfinished) is None:
            raise DefinitionError("no turn of this session was cut off")
        start = self._start((), stream_text=self._stream_text)
        return await self._turn(lambda start: self.agent.resume(run_id, start), start)

    def stream(self, task: Any = None, /, **inputs: Any) -> AsyncGenerator[Event]:
        """The next turn as a stream; see `Agent.stream`."""

        async def turn(sink: Sink) -> Result:
            return await self._turn(
                lambda start: self.agent.start(task, inputs, start), self._start((sink,), stream_text=True)
            )

        return stream_events(turn)

    def clear(self) -> None:
        """Forget the turns of this conversation; what the agent's memory keeps stays."""
        self.messages.clear()
        self._turns.clear()
        self._traces = Traces()
        self._loaded = None

    def endorse(self, value: str, by: str, reason: str = "", integrity: Integrity = Integrity.DIRECTORY) -> None:
        """Let a person vouch for a value that was read, such as an address: later turns may use it as if it stood in
        the policy's directory. The agent's audit notes it first, by its hash.

        Args:
            by: Who, such as "user:ann"; whoever calls this has made sure of it.
        """
        endorsement = Endorsement(value, integrity, by, reason)
        if self.agent.audit is not None:
            self.agent.audit.append(endorsement.record(self.id))
        self._traces.endorse(endorsement)

    def rewind(self, turns: int = 1) -> int:
        """Take back the last turns, as if they had not been said; what they did to the world stays done.

        Returns:
            How many were taken back.
        """
        taken = 0
        while taken < turns and (self._turns or self._loaded is not None):
            self.messages[:] = self._turns.pop() if self._turns else self._before_loaded()
            taken += 1
        return taken

    @property
    def rewindable(self) -> int:
        """How many turns `rewind` can take back; a `compact` is one."""
        count, before = len(self._turns), self._loaded
        while before is not None:
            count, before = count + 1, self._journal().record(before).previous
        return count

    def _before_loaded(self) -> list[Message]:
        """The conversation before the last turn that came from the journal."""
        journal = self._journal()
        assert self._loaded is not None
        record = journal.record(self._loaded)
        self._loaded = record.previous
        heard = 0 if record.previous is None else len(journal.messages(record.previous))
        return self.messages[: heard + len(record.messages)]

    def compact(self, share: float = 0.5) -> tuple[int, int]:
        """Shorten the conversation to about `share` of its length: old results are cut, the oldest turns become a
        summary. `rewind` takes it back.

        Returns:
            Tokens before and after, guessed.

        Raises:
            WindowTooSmall: What must stay, the first and the last thing said, is longer than that.
        """
        before = sum(map(message_tokens, self.messages))
        last = max((i for i, message in enumerate(self.messages) if message.role == "user"), default=0)
        shorter = compact(tuple(self.messages), last, int(before * share)) if self.messages else []
        self._turns.append(tuple(self.messages))
        self.messages[:] = shorter
        return before, sum(map(message_tokens, shorter))

    def _journal(self) -> Journal:
        if self.agent.journal is None:
            raise DefinitionError("the session's agent has no journal; pass journal=Journal(path) to it")
        return self.agent.journal

    def _start(self, sinks: tuple[Sink, ...], *, stream_text: bool) -> Start:
        kept = self._kept if self._kept is not None and self._kept.begins(self.messages) else None
        return Start(
            (*self._sinks, *sinks),
            stream_text,
            self.messages,
            self.id,
            previous=kept.run_id if kept else None,
            heard=len(kept.messages) if kept else 0,
            traces=self._traces,
            kept=kept.traces if kept else None,
        )

    async def _turn(self, run: Callable[[Start], Any], start: Start) -> Result:
        self._turns.append(tuple(self.messages))
        try:
            result: Result = await run(start)
            # A summary stands in no event: the next turn's run has to say it all again.
            self._kept = (
                None if result.compactions else _Kept(result.run_id, tuple(self.messages), self._traces.to_json())
            )
            return result
        finally:
            _drop_unanswered(self.messages)


def _drop_unanswered(messages: list[Message]) -> None:
    """A turn that was cut off may end with calls that have no results; no model takes such a conversation."""
    while messages and any(isinstance(part, ToolCallPart) for part in messages[-1].parts):
        messages.pop()
