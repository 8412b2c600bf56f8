"""The messages of a run: told to whoever listens as they come, and kept within the model's context window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from dspy.lm15 import Message

from corral.agents.codec import message_to_json
from corral.agents.compaction import compact
from corral.agents.media import shows_pictures
from corral.agents.meter import Meter
from corral.agents.model import Model
from corral.agents.wellformed import well_formed
from corral.policy import Compacted, Emitter, MessageAdded

__all__ = ["Conversation"]

_ANSWER_SHARE = 4
"""Where no maximum is set, the answer may take this part of the window: a quarter."""
_KEPT_SHARE = 0.6
"""Compacting leaves this much of the room, so that it is not soon done again: each time the cached prefix is lost."""


class Conversation:
    """The messages of one run, in a list that its starter may read at any time.

    Args:
        messages: Those before the task; the list grows with the run.
        heard: How many of them whoever listens has from an earlier run.
    """

    def __init__(self, messages: list[Message], emitter: Emitter, meter: Meter, heard: int = 0) -> None:
        self.messages = messages
        self._emitter = emitter
        self._meter = meter
        self._task = 0
        self._heard = heard
        self.compactions = 0

    def open(self) -> None:
        """Tell whoever listens of the messages that it has not heard."""
        for message in self.messages[self._heard :]:
            self._tell(message)

    def add(self, message: Message) -> None:
        """Add a message at the end."""
        message = well_formed(message)
        self.messages.append(message)
        self._tell(message)

    def add_task(self, message: Message) -> None:
        """Add the task; it stays whole whatever happens."""
        self._task = len(self.messages)
        self.add(message)

    async def fit(self, model: Model) -> None:
        """Compact old steps if the prompt and an answer would not fit the model's window.

        Raises:
            WindowTooSmall: Not even the task and the newest step fit.
        """
        window = model.context_window()
        if window is None:
            return
        answer = min(model.max_tokens or window // _ANSWER_SHARE, window // 2)
        prompt = self._meter.prompt(self.messages)
        if prompt + answer > window:
            await self.compact(int((window - answer) * _KEPT_SHARE), prompt)

    async def compact(self, budget: int, prompt: int | None = None) -> None:
        """Make the prompt about `budget` tokens long.

        Raises:
            WindowTooSmall: What must stay doesn't fit.
        """
        before = self._meter.prompt(self.messages) if prompt is None else prompt
        # Choosing sentences for a summary may take most of a second.
        room = budget - self._meter.prefix()
        messages = await anyio.to_thread.run_sync(compact, tuple(self.messages), self._task, room)
        task = self.messages[self._task]
        self._rewrite(messages)
        self.compactions += 1
        self._task = next((i for i, message in enumerate(messages) if message is task), 0)
        self._emitter.emit(Compacted(tokens_before=before, tokens_after=self._meter.prompt(self.messages)))

    @property
    def has_pictures(self) -> bool:
        """Whether tools' pictures are shown in it."""
        return any(shows_pictures(message) for message in self.messages)

    def translate(self, how: Callable[[Sequence[Message]], list[Message]]) -> None:
        """Say it all in another protocol, one message for one."""
        self._rewrite(how(self.messages))

    def _rewrite(self, messages: list[Message]) -> None:
        self.messages[:] = messages
        self._meter.rewritten()

    def _tell(self, message: Message) -> None:
        if self._emitter.active and not self._emitter.is_repeated(MessageAdded):
            self._emitter.emit(MessageAdded(message=message_to_json(message)))
