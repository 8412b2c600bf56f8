"""The model that memory asks: for the facts in what was said, and for the searches that a question takes."""

from __future__ import annotations

import uuid
from itertools import count

import dspy
from dspy.lm15 import Message, Request

from corral.agents.effects import Effects
from corral.agents.model import Model, ModelSpec
from corral.agents.steps import InlineSteps
from corral.memory import Model as MemoryModel
from corral.policy import Gate, Spend

__all__ = ["memory_model"]


def memory_model(
    lm: str | ModelSpec | Model | dspy.LM, gate: Gate, *, agent: str = "main", user: str = "local"
) -> MemoryModel:
    """`lm` as memory asks it; each question passes `gate` as "model:NAME", and costs from its budget.

    For `Memory(path, model=...)`, whose recalls then break a question into searches, and for `Memory.consolidate`.
    Without an answer, recall goes on alone, and consolidation raises `ConsolidationFailed` and begins there next time.
    """
    model = lm if isinstance(lm, Model) else Model(lm)
    effects = Effects(gate, InlineSteps(uuid.uuid4().hex), f"agent:{agent}", f"user:{user}")
    numbers = count()

    async def ask(prompt: str) -> str:
        request = Request(model=model.name, messages=(Message.user(prompt),), config=model.config())
        answer = await effects.generate(model, request, next(numbers), Spend(steps=1), None)
        return answer.text

    return ask
