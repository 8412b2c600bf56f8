"""What `corral memory consolidate` does, and how it tells of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from corral.agents import AgentError, DefinitionError, InlineSteps, Model
from corral.agents.deadline import within
from corral.agents.effects import Effects
from corral.agents.memorymodel import MemoryQuestions
from corral.apps.failures import Exit
from corral.memory import ConsolidationBusy, ConsolidationFailed, Memory, Receipt, Scope
from corral.policy import BudgetExceeded, Gate, Usage

__all__ = ["Done", "consolidated"]

_ALL = 1_000_000


@dataclass(frozen=True)
class Done:
    """What a consolidation came to.

    Attributes:
        left: Turns that were not gone through.
        problem: Why it did not go on, for a person.
    """

    facts: int
    turns: int
    left: int
    model_calls: int
    usage: Usage
    problem: str = ""
    status: Exit = Exit.DONE

    def __str__(self) -> str:
        cost = "" if self.usage.cost_usd is None else f", ${self.usage.cost_usd:.4f}"
        left = f"; {self.left} turns are left" if self.left else ""
        calls = f"{self.model_calls} model call{'' if self.model_calls == 1 else 's'}"
        return f"{self.facts} facts drawn from {self.turns} turns, {calls}, {self.usage.tokens} tokens{cost}{left}"

    def to_json(self) -> dict[str, Any]:
        return {
            "facts": self.facts,
            "turns": self.turns,
            "left": self.left,
            "model_calls": self.model_calls,
            "tokens": self.usage.tokens,
            "cost_usd": self.usage.cost_usd,
            "problem": self.problem or None,
        }


async def consolidated(memory: Memory, scope: Scope, gate: Gate, model: Model, most: int) -> Done:
    """Let `model` find facts in what was said to the agent of `scope`.

    Raises:
        DefinitionError: Money is limited, and the model's price is not known.
        Denied: The gate refused.
        MemoryFault: The store can't be used.
    """
    steps = InlineSteps(uuid.uuid4().hex)
    questions = MemoryQuestions(model, Effects(gate, steps, f"agent:{scope.agent}", f"user:{scope.user}"))
    action = memory.action("write", scope, layer="long", arguments={"consolidate": scope.namespace})
    receipt, problem, status = Receipt(), "the time for it is over", Exit.LIMIT
    try:
        with within(gate.budget.seconds_left()):
            receipt = await gate.perform(
                action, lambda admission: memory.consolidate(questions, scope, most=most, admission=admission)
            )
            problem, status = "", Exit.DONE
    except ConsolidationBusy as error:
        problem, status = str(error), Exit.DONE
    except ConsolidationFailed as error:
        cause = error.__cause__
        if isinstance(cause, DefinitionError):
            raise cause from None
        receipt, problem = error.receipt, str(cause if isinstance(cause, BudgetExceeded | AgentError) else error)
        status = Exit.LIMIT if isinstance(cause, BudgetExceeded) else Exit.ERROR
    finally:
        await model.close()
    left = await memory.pending(scope, most=_ALL)
    return Done(len(receipt.ids), receipt.turns, left.turns, questions.asked, questions.usage, problem, status)
