"""Calling a tool."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any

import anyio

from corral.agents.caller import Below
from corral.agents.effects.passage import ONE_CALL, Passage
from corral.agents.errors import ReplayDiverged
from corral.agents.hooks.around import Around
from corral.agents.steps import AT_STEP, Codec
from corral.agents.stored import OBSERVATION, refusal_to_json
from corral.policy import Action, ActionKind, Admission, Denied, Redactor, Spend
from corral.tools import Elicitation, Observation, Tool

__all__ = ["ToolEffects"]

_LONG = 20_000
"""Characters that are redacted beside the event loop, not in it: about 4 ms."""


class ToolEffects:
    """Calls tools for one run, and asks its person what a tool's server asks."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    async def call(
        self, tool: Tool, arguments: Mapping[str, Any], step: str, *, again: str | None = None, told: bool = True
    ) -> Observation:
        """Call a tool with checked arguments.

        Args:
            again: The cell that is run again, if one is: then only what is recorded can be had.
            told: Whether the model will read what it returns.

        Raises:
            Denied: The policy, a hook or a person refused.
            BadArguments: A hook made arguments of them that don't fit.
            BudgetExceeded: No call is left.
            UnknownOutcome: It must not be repeated, and an earlier process was killed while it ran.
            ReplayDiverged: `again`, and it was not called before.
        """
        passage, given = self._passage, dict(arguments)
        kept = passage.steps.recorded(step)
        if kept is not None:
            if again is None:
                passage.charge_below(Below.from_json(kept))
            observation = passage.again(kept, OBSERVATION, ONE_CALL if again is None else Spend())
            return self._observed(tool, observation, given) if told else observation
        if again is not None:
            raise ReplayDiverged(again, f"it called {tool.name} as it had not done before")
        action = passage.action(tool.resource, tool.verb, given, read_only=tool.read_only, schema_hash=tool.schema_hash)
        if passage.around is not None:
            given = await self._hooked(passage.around, step, action, tool)
            action = replace(action, arguments=given, labels=dict.fromkeys(given, passage.seen))
        if action.kind is not ActionKind.MEMORY:
            # A note keeps the label of all that was read: of a page told in other words nothing can be traced.
            action = replace(action, labels=passage.provenance.labels(action))

        async def effect(admission: Admission) -> Observation:
            with passage.calling(step, tool.resource) as below:
                codec: Codec[Observation] = Codec(lambda seen: below.beside(OBSERVATION.dump(seen)), OBSERVATION.load)

                async def called() -> Observation:
                    observation = await self._clean(tool.call(given, admission))
                    if passage.around is None:
                        return observation
                    return await passage.around.after_tool(tool, given, observation, passage.seen)

                return await passage.steps.call(step, called, codec=codec, effect=tool.effect.value)

        observation = await passage.perform(step, action, effect)
        return self._observed(tool, observation, given) if told else observation

    async def _hooked(self, around: Around, step: str, action: Action, tool: Tool) -> dict[str, Any]:
        """The arguments that hooks leave; a veto is recorded, like any refusal."""
        try:
            with self._passage.calling(f"hook/{step}", ""):
                return await around.before_tool(action, tool, self._passage.seen)
        except Denied as error:
            await self._passage.steps.record(step, refusal_to_json(error))
            raise

    async def elicit(self, elicitation: Elicitation, tool: Tool, step: str) -> dict[str, Any] | bool | None:
        """What the person answers a server that asks in the middle of a call: a form, True for a URL, or None.

        Raises:
            Denied: The policy or the person refused, or nobody can be asked.
            BadArguments: What was filled in does not fit the form.
        """
        passage = self._passage
        action = elicitation.action(passage.principal, passage.user, tool.label, passage.via)
        AT_STEP.set(step)
        return await passage.gate.perform(action, elicitation.answered)

    async def _clean(self, called: Awaitable[Observation]) -> Observation:
        """What a tool gives, redacted before it is kept or handed to code."""
        observation = await called
        redactor = self._passage.redactor
        if redactor is None:
            return observation
        if len(observation.whole or observation.text) > _LONG:
            return await anyio.to_thread.run_sync(_redacted, observation, redactor)
        return _redacted(observation, redactor)

    def _observed(self, tool: Tool, observation: Observation, given: dict[str, Any]) -> Observation:
        value = tool.result(observation)
        shown = "" if value is observation.text else observation.text
        label = self._passage.provenance.observe(
            tool.resource, value, observation.label, given, shown=shown, schema=tool.schema_hash
        )
        return observation if label == observation.label else replace(observation, label=label)


def _redacted(observation: Observation, redactor: Redactor) -> Observation:
    structured = redactor.redact_json(observation.structured)
    text = redactor.redact(observation.text)
    contents, media = (observation.contents, observation.media) if text == observation.text else ((), ())
    whole = None if observation.whole is None else redactor.redact(str(observation.whole))
    return replace(observation, text=text, structured=structured, contents=contents, whole=whole, media=media)
