"""Asking a model."""

from __future__ import annotations

from collections.abc import Callable

from dspy.lm15 import Request

from corral.agents.caller import Below
from corral.agents.effects.passage import Passage
from corral.agents.errors import DefinitionError, ModelError
from corral.agents.generation import GENERATION, Generation
from corral.agents.model import Model
from corral.agents.rendering import rendering_once
from corral.agents.steps import AT_STEP
from corral.policy import Admission, Spend

__all__ = ["ModelEffects"]


class ModelEffects:
    """Asks models for one run."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    def answered(self, step: int, reserve: Spend) -> Generation | None:
        """The recorded answer of a model that was asked in an earlier process, paid for again; None if none was."""
        if (kept := self._passage.steps.recorded(f"model/{step}")) is None:
            return None
        generation = GENERATION.load(kept)
        self._passage.charge(_cost(reserve, generation))
        return generation

    async def generate(
        self, model: Model, request: Request, step: int, reserve: Spend, on_text: Callable[[str], None] | None
    ) -> Generation:
        """Ask the model.

        Raises:
            Denied: The policy refuses the model.
            BudgetExceeded: There is not so much left.
            ModelError: The model gave no answer.
        """
        name = f"model/{step}"
        if (kept := self.answered(step, reserve)) is not None:
            return kept
        AT_STEP.set(name)

        async def ask(one: Model, request: Request, patience: float, /) -> Generation:
            return await self._ask(one, request, reserve, on_text, patience)

        async def answered() -> Generation:
            around = self._passage.around
            if around is None:
                return await model.answer(request, ask)
            action = self._passage.action(model.resource, "generate")
            with self._passage.calling(f"hook/{name}", ""):
                asked = await around.before_model(action, request, step)
                return await around.after_model(action, asked, await model.answer(asked, ask), step)

        try:
            return await self._passage.steps.call(name, answered, codec=GENERATION, effect="read")
        except (ModelError, DefinitionError) as error:
            self._hush(error)
            raise

    def _hush(self, error: ModelError | DefinitionError) -> None:
        """Servers quote keys: "Incorrect API key provided: ..."."""
        redacted = self._passage.redacted
        if isinstance(error, ModelError):
            error.problem = redacted(error.problem)
        error.args = tuple(redacted(arg) if isinstance(arg, str) else arg for arg in error.args)

    async def _ask(
        self, model: Model, request: Request, reserve: Spend, on_text: Callable[[str], None] | None, patience: float
    ) -> Generation:
        resource = model.resource

        async def effect(admission: Admission) -> Generation:
            admission.claim(resource, "generate")
            admission.spent = Spend(steps=reserve.steps)  # an attempt without an answer costs a step and no tokens
            generation = await model.generate(request, on_text=on_text, patience=patience)
            admission.spent = _cost(reserve, generation)
            return generation

        return await self._passage.gate.perform(self._passage.action(resource, "generate"), effect, reserve=reserve)

    async def ask_below(self, model: Model, request: Request, below: Below) -> Generation:
        """Ask for a tool that is no run of its own, such as a DSPy module."""

        async def ask(one: Model, request: Request, patience: float, /) -> Generation:
            return await self._ask(one, request, Spend(steps=1), None, patience)

        with rendering_once():  # another conversation than the run's, whose turns stay rendered
            generation = await model.answer(request, ask)
        below.add(generation.usage, _cost(Spend(steps=1), generation))
        return generation


def _cost(reserve: Spend, generation: Generation) -> Spend:
    usage = generation.usage
    return Spend(reserve.steps, 0, usage.tokens, usage.cost_usd or 0.0)
