"""Borders: what enters a run, and what leaves it, as guards and hooks leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dspy.lm15 import Message, TextPart, ToolResultPart
from pydantic_core import to_jsonable_python

from corral.agents.effects import Effects
from corral.agents.guards import About, Canary, Guard, Guards, Refused
from corral.agents.hooks import Hooks, Vetoed
from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.signature import InvalidOutputs, TaskSignature
from corral.agents.start import Start
from corral.policy import Emitter, Event
from corral.tools import Observation, Tool

__all__ = ["Border"]


class Border:
    """The guards and hooks at both ends of one run.

    Attributes:
        noted: What was let through, and remarked on.
    """

    def __init__(
        self, before: Sequence[Guard], after: Sequence[Guard], hooks: Hooks, effects: Effects, emitter: Emitter
    ) -> None:
        self.noted: list[str] = []
        self._inputs: Mapping[str, Any] = {}
        self._emitter = emitter
        self._held = _Held()
        self._before = Guards(before, "input", self._held, self.noted)
        self._after = Guards(after, "output", emitter, self.noted)
        self._hooks = hooks
        self._effects = effects
        self._planted = tuple(guard.planted for guard in after if isinstance(guard, Canary))

    @property
    def withholds(self) -> bool:
        """Whether an answer has to be whole before anyone may see it."""
        return bool(self._after.guards) or self._hooks.wants("after_run") or self._hooks.wants("after_model")

    def instructions(self, instructions: str) -> str:
        """The instructions, with what guards put into them."""
        return "\n\n".join((instructions, *self._planted))

    async def enter(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs that the run may have.

        Raises:
            Refused: It may not have them.
        """
        about = self._about("input", 0, inputs, ())
        given = await self._effects.below_step("guard/input", lambda: self._before.check(inputs, about))
        if self._hooks.wants("before_run"):
            given = await self._decided("before_run", given, self._hooks.telling(self._held))
        self._inputs = given
        return given

    def begun(self) -> None:
        """The run has begun: tell what happened before it could."""
        for event in self._held.events:
            self._emitter.emit(event)
        self._held.events.clear()

    async def leave(
        self, outputs: Mapping[str, Any], signature: TaskSignature, step: int, messages: Sequence[Message]
    ) -> dict[str, Any]:
        """The outputs that may be seen.

        Raises:
            Refused: None of them may.
        """
        left = dict(outputs)
        if self._hooks.wants("after_run"):
            said = await self._decided(f"after_run/{step}", left, self._hooks)
            left = left if said == to_jsonable_python(left, fallback=str) else said
        if self._after.guards:
            about, given = self._about("output", step, self._inputs, messages), left
            left = await self._effects.below_step(f"guard/output/{step}", lambda: self._after.check(given, about))
        if left == outputs:
            return left
        try:
            return signature.check(left)
        except InvalidOutputs as error:
            raise Refused("output", f"what guards and hooks have left of it does not fit: {error}") from error

    async def _decided(self, point: str, values: Mapping[str, Any], hooks: Hooks) -> dict[str, Any]:
        """What hooks leave; it is recorded, and they are not asked again when the run is resumed."""
        steps, name = self._effects.steps, f"hook/{point}"
        kept: Any = steps.recorded(name)
        if kept is None:
            try:
                given: dict[str, Any] = to_jsonable_python(dict(values), fallback=str)
                at = point.partition("/")[0]
                kept = {"values": await self._effects.below_step(name, lambda: hooks.decide(at, given))}
            except Vetoed as veto:
                kept = {"veto": [veto.by, veto.reason]}
            await steps.record(name, kept)
        if "veto" in kept:
            raise Refused(*kept["veto"])
        found: dict[str, Any] = kept["values"]
        return found

    def _about(self, side: str, step: int, inputs: Mapping[str, Any], messages: Sequence[Message]) -> About:
        made = 0

        def named() -> str:
            nonlocal made
            made += 1
            return f"guard/{side}/{step}/{made}"

        async def call(tool: Tool, arguments: dict[str, Any]) -> Observation:
            return await self._effects.tools.call(tool, arguments, named(), told=False)

        async def ask(member: Member, given: dict[str, Any]) -> Result:
            return await self._effects.below_step(named(), lambda: member.start(None, given, Start()))

        return About(inputs, _read(messages), call, ask)


class _Held(Emitter):
    """Keeps events: a run's inputs are looked at before it begins, as its first event tells them."""

    def __init__(self) -> None:
        super().__init__("", ())
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def _read(messages: Sequence[Message]) -> list[str]:
    """What the model was given, other than its own words."""
    return [text for message in messages if message.role != "assistant" for text in _texts(message)]


def _texts(message: Message) -> list[str]:
    texts: list[str] = []
    for part in message.parts:
        inner: Any = part.content if isinstance(part, ToolResultPart) else (part,)
        texts.extend(one.text for one in inner if isinstance(one, TextPart))
    return texts
