"""The conversation of a chat: an agent, the session that goes on with it, and those of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dspy.lm15 import Message

from corral.agents import Agent, Journal, JournalError, Session
from corral.apps.inwords import in_words
from corral.policy import Sink

__all__ = ["Conversation", "Past", "find_session", "past_sessions"]

_MOST_SESSIONS = 20


@dataclass(frozen=True)
class Past:
    """A session of the journal.

    Attributes:
        title: What was said first, on one line.
        is_cut_off: Its last turn did not end, or waits for an answer.
    """

    id: str
    title: str
    started: datetime
    turns: int
    is_cut_off: bool

    def __str__(self) -> str:
        cut_off = "  waits to go on" if self.is_cut_off else ""
        return f"{self.id[:8]}  {self.started:%Y-%m-%d %H:%M}  {self.turns} turns{cut_off}  {self.title}"


class Conversation:
    """The turns with one agent; `session` changes when another one is taken up."""

    def __init__(self, agent: Agent, sinks: Sequence[Sink]) -> None:
        self.agent = agent
        self._sinks = tuple(sinks)
        self.session = self._new()
        self.is_loaded = False
        """Whether it goes on from the journal."""

    def renew(self) -> None:
        """A new session, with nothing said."""
        self.session = self._new()

    def fork(self) -> str:
        """Go on in a session of its own, with all that was said so far; the id of the one that stays as it is."""
        left = self.session
        self.session = self._new(left.messages)
        return left.id

    def load(self, id: str) -> None:
        """Take up a session of the journal.

        Raises:
            JournalError: There is none.
        """
        self.session = Session.load(self.agent, id, sinks=self._sinks, stream_text=True)
        self.is_loaded = True

    @property
    def messages(self) -> list[Message]:
        return self.session.messages

    def _new(self, messages: Sequence[Message] = ()) -> Session:
        return Session(self.agent, messages=messages, sinks=self._sinks, stream_text=True)


def past_sessions(journal: Journal, most: int = _MOST_SESSIONS) -> list[Past]:
    """The sessions of the journal that were used last, the newest first."""
    runs: dict[str, list[dict[str, object]]] = {}
    for run in journal.runs():
        if run["session_id"] is not None and (run["session_id"] in runs or len(runs) < most):
            runs.setdefault(run["session_id"], []).append(run)
    return [_past(journal, id, turns) for id, turns in runs.items()]


def find_session(journal: Journal, start: str) -> str:
    """The id of the one session that starts so; of all sessions, also of those that `past_sessions` leaves out.

    Raises:
        JournalError: There is none, or several.
    """
    found = {run["session_id"] for run in journal.runs() if (run["session_id"] or "").startswith(start)}
    if len(found) != 1 or not start:
        how = "several sessions start" if found else "no session starts"
        raise JournalError(f"{how} with {start!r}; `corral chat -r` lists the last ones")
    return found.pop()


def _past(journal: Journal, id: str, turns: list[dict[str, object]]) -> Past:
    first = journal.record(str(turns[-1]["run_id"]))
    title = in_words(first.inputs)
    started = turns[-1]["started"]
    assert isinstance(started, float)
    return Past(id, title[:60], datetime.fromtimestamp(started), len(turns), journal.is_cut_off(turns[0]))
