"""Hooks around the effects of a run: what they leave is what the gate judges, and what they refuse is in the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dspy.lm15 import Message, Request, TextPart

from corral.agents.generation import Generation
from corral.agents.hooks.hook import CellView, ModelView, ToolView
from corral.agents.hooks.hooks import Hooks, Vetoed
from corral.policy import Action, Denied, Gate, Judgement, Label, Verdict
from corral.tools import Observation, Tool

__all__ = ["Around"]


class Around:
    """Asks a run's hooks before and after its effects."""

    def __init__(self, hooks: Hooks, gate: Gate) -> None:
        self.hooks = hooks
        self._gate = gate

    async def before_model(self, action: Action, request: Request, step: int) -> Request:
        """The request, with the system prompt that the hooks leave.

        Raises:
            Denied: A hook vetoed it.
        """
        if not self.hooks.wants("before_model"):
            return request
        system = str(request.system or "")
        try:
            changed = await self.hooks.decide("before_model", system, _view(request, step))
        except Vetoed as veto:
            raise self._denied(action, veto) from None
        return request if changed == system else replace(request, system=changed)

    async def after_model(self, action: Action, request: Request, generation: Generation, step: int) -> Generation:
        """The answer, with the text that the hooks leave.

        Raises:
            Denied: A hook vetoed it.
        """
        if not self.hooks.wants("after_model"):
            return generation
        said = generation.text
        try:
            text = await self.hooks.decide("after_model", said, _view(request, step))
        except Vetoed as veto:
            raise self._denied(action, veto) from None
        if text == said:
            return generation
        others: list[Any] = [part for part in generation.message.parts if not isinstance(part, TextPart)]
        return replace(generation, message=Message.assistant([TextPart(text), *others]))

    async def before_tool(self, action: Action, tool: Tool, seen: Label) -> dict[str, Any]:
        """The arguments that the hooks leave.

        Raises:
            Denied: A hook vetoed the call.
            BadArguments: They don't fit the tool any more.
        """
        given = dict(action.arguments)
        if not self.hooks.wants("before_tool"):
            return given
        try:
            changed = await self.hooks.decide("before_tool", given, _call(tool, given, seen))
        except Vetoed as veto:
            raise self._denied(action, veto) from None
        return given if changed == given else tool.check(changed)

    async def after_tool(
        self, tool: Tool, arguments: Mapping[str, Any], observation: Observation, seen: Label
    ) -> Observation:
        """The observation that the hooks leave; it has the label that it had."""
        if not self.hooks.wants("after_tool"):
            return observation
        try:
            text = await self.hooks.decide("after_tool", observation.text, _call(tool, arguments, seen))
        except Vetoed as veto:
            return Observation(f"withheld: {veto}", is_error=True, label=observation.label)
        if text == observation.text:
            return observation
        return Observation(text, is_error=observation.is_error, label=observation.label)

    async def before_cell(self, action: Action, cell: str, code: str) -> str:
        """The code that the hooks leave.

        Raises:
            Denied: A hook vetoed it.
        """
        try:
            return await self.hooks.decide("before_cell", code, CellView(cell, code))
        except Vetoed as veto:
            raise self._denied(action, veto) from None

    async def after_cell(self, cell: str, code: str, text: str) -> str:
        """What the model may see of what a cell gave."""
        try:
            return await self.hooks.decide("after_cell", text, CellView(cell, code))
        except Vetoed as veto:
            return f"withheld: {veto}"

    def _denied(self, action: Action, veto: Vetoed) -> Denied:
        return self._gate.refuse(action, Judgement(Verdict.DENY, str(veto), veto.by))


def _view(request: Request, step: int) -> ModelView:
    said = tuple((str(message.role), str(message.text or "")) for message in request.messages)
    return ModelView(request.model, step, said)


def _call(tool: Tool, arguments: Mapping[str, Any], seen: Label) -> ToolView:
    return ToolView(tool.name, tool.resource, dict(arguments), seen)
