"""Adapting: what about the next prompt is changed when a server refuses one, and kept for a resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from corral.agents.errors import CallsUnreadable, ContextOverflow, ModelError, ToolsUnsupported
from corral.agents.model import Model
from corral.agents.protocol import Proposal
from corral.agents.steps import Steps

__all__ = ["Adapting", "Change"]

_MOST_CHANGES = 3
"""In one step; a server that refuses whatever it is sent would be asked for ever."""
_MOST_GARBLED = 3
"""Turns in a row of which no call could be read, before function calls are given up."""
_SHRUNK = 0.6


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        to_text: Function calls are given up for the text protocol.
        room: Tokens that the prompt is compacted to.
        blind: Tools' pictures are left out, and no more are shown: one may be broken, or the model can't see.
    """

    to_text: bool = False
    room: int | None = None
    blind: bool = False


class Adapting:
    """Decides on changes, and remembers them as steps: a resumed run makes them where it made them before."""

    def __init__(self, steps: Steps, model: Model) -> None:
        self._steps = steps
        self._model = model
        self._garbled = 0
        self._step = 0
        self._made = 0

    def recorded(self, step: int) -> Iterator[Change]:
        """The changes that an earlier process made in this step."""
        self._step, self._made = step, 0
        while (data := self._steps.recorded(self._name())) is not None:
            self._made += 1
            yield Change(**data)

    async def after(self, error: ModelError, step: int, prompt: int, has_pictures: bool = False) -> Change | None:
        """What may help after `error`; None if nothing does.

        Args:
            prompt: Tokens by our count.
            has_pictures: Tools' pictures were in it.
        """
        if self._made >= _MOST_CHANGES:
            return None
        if isinstance(error, ToolsUnsupported):
            self._model.without_native_tools()
            change = Change(to_text=True)
        elif isinstance(error, CallsUnreadable):
            change = Change(to_text=True)  # in this run: what it does now, the model may do better another time
        elif isinstance(error, ContextOverflow):
            if error.window is not None:
                self._model.learn_window(error.window)
            change = Change(room=int(min(prompt, error.window or prompt) * _SHRUNK))
        elif has_pictures and not error.transient:
            change = Change(blind=True)
        else:
            return None
        await self._steps.record(self._name(), asdict(change))
        self._made += 1
        return change

    async def without_calls(self) -> Change:
        """Leave function calls: the model that is asked from now on takes none."""
        change = Change(to_text=True)
        await self._steps.record(self._name(), asdict(change))
        self._made += 1
        return change

    def keeps_failing(self, proposals: Sequence[Proposal]) -> bool:
        """Whether, for some turns now, the model made no call that could be read, or wrote them all into its text."""
        failed = all(proposal.problem or proposal.in_text for proposal in proposals)
        self._garbled = self._garbled + 1 if failed else 0
        return self._garbled >= _MOST_GARBLED

    def _name(self) -> str:
        return f"change/{self._step}/{self._made}"
