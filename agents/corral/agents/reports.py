"""What a server says in the middle of a call: events of the run, and questions to its person."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from corral.agents.effects import Effects
from corral.policy import Denied, Emitter, ServerLogged, ToolProgressed
from corral.tools import BadArguments, Elicitation, LogEntry, Progress, Tool

__all__ = ["CallReports"]

_MOST: Final = 200
"""Events of one call: a server may say as much as it likes, and the journal keeps all events."""
_MAX_TEXT: Final = 500


class CallReports:
    """Hears of one call (`corral.tools.Reports`).

    Args:
        step: The call's name as a step; its questions have names below it.
    """

    def __init__(self, effects: Effects, emitter: Emitter, tool: Tool, call_id: str, step: str) -> None:
        self._effects = effects
        self._emitter = emitter
        self._tool = tool
        self._call_id = call_id
        self._step = step
        self._said = count(1)
        self._asked = count()

    def progress(self, progress: Progress) -> None:
        if next(self._said) <= _MOST:
            told = ToolProgressed(
                call_id=self._call_id,
                tool=self._tool.name,
                done=progress.done,
                total=progress.total,
                message=progress.message[:_MAX_TEXT],
            )
            self._emitter.emit(told)

    def log(self, entry: LogEntry) -> None:
        if next(self._said) <= _MOST:
            text = entry.text[:_MAX_TEXT]
            self._emitter.emit(ServerLogged(call_id=self._call_id, server=entry.server, level=entry.level, text=text))

    async def elicit(self, elicitation: Elicitation) -> dict[str, Any] | bool | None:
        step = f"{self._step}/question/{next(self._asked)}"
        try:
            return await self._effects.tools.elicit(elicitation, self._tool, step)
        except (Denied, BadArguments):
            return False
