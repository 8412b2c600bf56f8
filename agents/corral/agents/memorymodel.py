"""The model that memory asks: for the facts in what was said, and for the searches that a question takes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import dspy
from dspy.lm15 import Message, Request

from corral.agents.allowance import Allowance
from corral.agents.effects import Effects
from corral.agents.meter import Meter
from corral.agents.model import Model, ModelSpec
from corral.agents.steps import InlineSteps
from corral.memory import Model as MemoryModel
from corral.policy import BudgetExceeded, Gate, Usage

__all__ = ["MemoryQuestions", "memory_model"]

_SHORTEST = 256
"""Tokens of an answer that is worth its question."""


@dataclass
class MemoryQuestions:
    """Asks a model as memory does: a question in, an answer out, through the gate and within its budget.

    Attributes:
        when_asked: Called before the first question that can be paid for.
        usage: Of all questions so far.
        asked: How many were answered.
    """

    model: Model
    effects: Effects
    when_asked: Callable[[], None] | None = None
    usage: Usage = field(default_factory=Usage)
    asked: int = 0
    _begun: int = 0
    _allowance: Allowance | None = None

    async def __call__(self, prompt: str) -> str:
        """The answer.

        Raises:
            DefinitionError: Money is limited, and nobody knows what the model's tokens cost.
            BudgetExceeded: There is not so much left as the question, and an answer of some length, may cost.
            Denied: The policy refuses the model.
            ModelError: It gave no answer.
        """
        model, effects, budget = self.model, self.effects, self.effects.gate.budget
        if self._allowance is None:
            self._allowance = Allowance(budget, model, Meter("", ()))
        messages = (Message.user(effects.redacted(prompt)),)
        plan = self._allowance.plan(messages)
        changes = {} if plan.max_tokens is None else {"max_tokens": plan.max_tokens}
        if plan.last is not None and plan.max_tokens is not None and plan.max_tokens < _SHORTEST:
            cap, left = getattr(budget.limits, plan.last.value) or 0.0, budget.left(plan.last.value) or 0.0
            raise BudgetExceeded(plan.last.value, cap, cap - left, plan.reserve.tokens + _SHORTEST)
        self._begun += 1
        if self._begun == 1 and self.when_asked is not None:
            self.when_asked()
        request = Request(model=model.name, messages=messages, config=model.config(**changes))
        answer = await effects.models.generate(model, request, self._begun, plan.reserve, None)
        self.usage += answer.usage
        self.asked += 1
        return answer.text


def memory_model(
    lm: str | ModelSpec | Model | dspy.LM, gate: Gate, *, agent: str = "main", user: str = "local"
) -> MemoryModel:
    """`lm` as memory asks it; each question passes `gate` as "model:NAME", and costs from its budget.

    For `Memory(path, model=...)`, whose recalls then break a question into searches, and for `Memory.consolidate`.
    Without an answer, recall goes on alone, and consolidation raises `ConsolidationFailed` and begins there next time.
    """
    effects = Effects(gate, InlineSteps(uuid.uuid4().hex), f"agent:{agent}", f"user:{user}")
    return MemoryQuestions(lm if isinstance(lm, Model) else Model(lm), effects)
