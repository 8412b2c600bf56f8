"""Planning: which tools with effects a run may use, asked once, before anything was read, and frozen.

The model that answers sees the user's own words, the program's instructions, and definitions of tools that somebody
whom the user trusts vouches for; so no page, mail or memory has a say in the plan (Dual LLM, CaMeL, arXiv:2503.18813).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from dspy.lm15 import Message, Request

from corral.agents.allowance import Allowance
from corral.agents.effects import Effects
from corral.agents.errors import ModelError
from corral.agents.generation import Generation
from corral.agents.meter import Meter
from corral.agents.model import Model
from corral.agents.signature import json_in
from corral.policy import BudgetExceeded, Emitter, ModelCalled, Planned, Usage
from corral.tools import Tool

__all__ = ["Planning"]

_STEP, _KEPT = 0, "plan"
"""The model is asked as "model/0", ahead of the first step, and what came of it is kept as this step."""
_BRACED = re.compile(r"\{.*\}", re.DOTALL)
_LONGEST = 300
"""Characters of a tool's description."""
_SYSTEM = """\
Name the tools with effects that are needed to do the user's task, before the work on it begins. Only they can be used
then: whatever turns out to need another one can't be done. Name those that the task itself asks for, and none to be on
the safe side. Tools that only read are allowed anyway and are not listed."""


@dataclass
class _Offer:
    """The tools to choose from, and those that nobody vouches for."""

    tools: dict[str, Tool] = field(default_factory=dict[str, Tool])
    undescribed: list[str] = field(default_factory=list[str])


class Planning:
    """Makes the plan of one run, and freezes it in what traces the run.

    Args:
        instructions: The program's, for its agent.
        task: The user's own words in it; None for a run that works for another one, where a plan from above holds as it
            is. In other runs one that the traces have is an earlier turn's, and is replaced.
        tools: All tools of the run.
    """

    def __init__(
        self,
        model: Model,
        effects: Effects,
        emitter: Emitter,
        instructions: str,
        task: str | None,
        tools: Sequence[Tool],
    ) -> None:
        self._model = model
        self._effects = effects
        self._emitter = emitter
        self._instructions = instructions
        self._tools = tools
        self._task = task or ""
        self._below = task is None

    async def make(self) -> Usage:
        """Make the plan, or take the recorded one; without an answer that can be used, it is a plan of nothing.

        Returns:
            What it cost.

        Raises:
            Denied: The policy refuses the model.
        """
        effects, usage = self._effects, Usage()
        if effects.provenance.traces.plan is not None and self._below:
            return usage
        # Until there is one: also if the question fails in a way that nobody thought of.
        effects.provenance.freeze((), from_trusted=True)
        offer = self._offered()
        kept = effects.steps.recorded(_KEPT)
        chosen: list[str] = []
        problem = ""
        if kept is None or kept["asked"]:
            chosen, problem, usage = await self._chosen(offer)
        if kept is None:
            said = {"tools": chosen, "problem": problem, "asked": usage.tokens > 0}
            await effects.steps.record(_KEPT, said)
        else:
            chosen, problem = kept["tools"], kept["problem"]
        effects.provenance.freeze(chosen, from_trusted=True)
        self._emitter.emit(
            Planned(tools=chosen, offered=len(offer.tools), undescribed=offer.undescribed, problem=problem)
        )
        return usage

    def _offered(self) -> _Offer:
        offer, provenance = _Offer(), self._effects.provenance
        for tool in self._tools:
            action = self._effects.action(
                tool.resource, tool.verb, read_only=tool.read_only, schema_hash=tool.schema_hash
            )
            if not provenance.is_planned(action):
                continue
            if tool.trusted or provenance.describes(action):
                offer.tools[tool.name] = tool
            else:
                offer.undescribed.append(tool.resource)
        return offer

    async def _chosen(self, offer: _Offer) -> tuple[list[str], str, Usage]:
        """The resources of the tools that the model names, or why there are none."""
        if not offer.tools:
            return [], "", Usage()
        try:
            generation = await self._ask(offer)
        except BudgetExceeded as error:
            return [], f"no plan was made: {error}", Usage()
        except ModelError as error:
            return [], f"no plan was made, as the model gave none: {error}", Usage()
        named = _named(generation.text)
        if named is None:
            return [], "no plan was made: the model's answer was no list of tools", generation.usage
        return [tool.resource for name, tool in offer.tools.items() if name in named], "", generation.usage

    async def _ask(self, offer: _Offer) -> Generation:
        """Ask the model.

        Raises:
            BudgetExceeded: What is left is for the run's answer.
            Denied: The policy refuses the model.
            ModelError: It gave no answer.
        """
        model, budget = self._model, self._effects.gate.budget
        messages = (Message.user("\n\n".join(self._question(offer))),)
        # In text, as every server takes it: a plan must not fail for a way of calling functions.
        system = f"{_SYSTEM}\nAnswer with JSON alone that fits this schema: {_schema(offer.tools)}"
        plan = Allowance(budget, model, Meter(system, ())).plan(messages)
        if plan.last is not None and self._effects.steps.recorded(f"model/{_STEP}") is None:
            cap = getattr(budget.limits, plan.last.value) or 0.0
            raise BudgetExceeded(plan.last.value, cap, cap - (budget.left(plan.last.value) or 0.0), 2)
        changes: dict[str, Any] = {} if plan.max_tokens is None else {"max_tokens": plan.max_tokens}
        request = Request(model=model.name, system=system, messages=messages, config=model.config(**changes))
        generation = await self._effects.models.generate(model, request, _STEP, plan.reserve, None)
        self._emitter.emit(
            ModelCalled(
                step=_STEP,
                model=generation.model or model.name,
                usage=generation.usage,
                seconds=generation.seconds,
                finish_reason=generation.finish_reason,
                cached=generation.cached or generation.usage.cached_tokens > 0,
            )
        )
        return generation

    def _question(self, offer: _Offer) -> Iterator[str]:
        """What the model is shown: nothing that anybody but the user, the program and who wrote the policy said."""
        if self._instructions:
            yield f"The agent that will do the task was told:\n{self._instructions}"
        yield "Tools with effects:\n" + "\n".join(self._line(tool) for tool in offer.tools.values())
        said = self._effects.provenance.trusted.texts
        if self._task:
            said = [text for text in said if text not in self._task]
            if said:
                yield "The user said before:\n" + "\n".join(said)
            said = [self._task]
        yield "The user's task:\n" + "\n\n".join(said)

    def _line(self, tool: Tool) -> str:
        """A tool as the planner sees it: in its own words only if they are those of somebody whom the user trusts."""
        if tool.trusted:
            return f"- {tool.name}: {' '.join(tool.description.split())[:_LONGEST]}"
        manifest = self._effects.provenance.manifest(
            self._effects.action(tool.resource, tool.verb, schema_hash=tool.schema_hash)
        )
        arguments = ", ".join(f"{name} ({role.value})" for name, role in manifest.arguments.items())
        return f"- {tool.name}: its effect is {manifest.effect.value}; arguments: {arguments or 'not described'}"


def _schema(tools: Iterable[str]) -> str:
    names = {"type": "array", "items": {"type": "string", "enum": list(tools)}}
    return json.dumps({"type": "object", "properties": {"tools": names}, "required": ["tools"]})


def _named(text: str) -> set[str] | None:
    """The names in an answer; None if it can't be read."""
    found: Any = json_in(text)
    if found is None and (braced := _BRACED.search(text)) is not None:
        found = json_in(braced.group())
    names: Any = cast("dict[str, Any]", found).get("tools") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[Any]", names)):
        return None
    return set(cast("list[str]", names))
