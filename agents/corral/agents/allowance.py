"""What the next model call may use, so that a limit always leaves room for a final answer."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from dspy.lm15 import Message

from corral.agents.errors import DefinitionError
from corral.agents.meter import Meter
from corral.agents.model import Model
from corral.agents.result import StopReason
from corral.policy import Budget, BudgetExceeded, Reservation, Spend

__all__ = ["Allowance", "Plan"]

_ANSWER_TOKENS = 4096
"""Reserved for one answer where the model's definition names no maximum."""
_FINAL_TOKENS = 1024
"""Kept back for the final answer, or an eighth of the limit if that is less."""
_FINAL_SECONDS = 30.0
"""Kept back for the final answer, or a fifth of the limit if that is less."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the next model call is made.

    Attributes:
        last: The limit that makes it the last one; None lets the run go on after it.
        reserve: The most that it can cost.
        max_tokens: Of its answer; None is the model's own.
    """

    last: StopReason | None
    reserve: Spend
    max_tokens: int | None

    @property
    def again(self) -> Spend:
        """The same for one more attempt at this step."""
        return replace(self.reserve, steps=0)


class Allowance:
    """Plans the model calls of one run by what its budget has left.

    Raises:
        DefinitionError: Money is limited, and nobody knows what the model's tokens cost.
    """

    def __init__(self, budget: Budget, model: Model, meter: Meter) -> None:
        self._budget = budget
        self._meter = meter
        self._price = model.price() if budget.left("cost_usd") is not None else None
        if budget.left("cost_usd") is not None and self._price is None:
            raise DefinitionError(
                f"money is limited (cost_usd), and the price of {model.name} is not known; "
                "give the model one (ModelSpec(price=...), or --price IN OUT), or limit tokens instead"
            )
        self._answer = model.max_tokens or _ANSWER_TOKENS
        tokens = budget.left("tokens")
        self._counts = tokens is not None or self._price is not None
        self._final = min(
            _FINAL_TOKENS, self._answer, max(1, int(tokens) // 8) if tokens is not None else _FINAL_TOKENS
        )
        seconds = budget.seconds_left()
        self._final_seconds = min(_FINAL_SECONDS, seconds / 5) if seconds is not None else 0.0

    def plan(self, messages: Sequence[Message], *, again: bool = False) -> Plan:
        """How to make the next call.

        Args:
            again: It is recorded, and only looked up; time plays no part in it.

        Raises:
            BudgetExceeded: Not even a final answer fits.
        """
        if not self._counts:
            return Plan(self._last(again), Spend(steps=1), None)
        prompt = self._meter.prompt(messages)
        now = self._room(prompt) or 0.0
        # Going on means paying for this answer, then for a prompt that has grown by it, then for the final answer.
        going_on = (self._room(2 * prompt + self._final) or 0.0) - self._final
        last = self._last(again) or (None if going_on >= self._final else self._scarcest())
        answer = int(min(self._answer, now if last else going_on))
        if answer < 1:
            raise self._out_of_room(prompt)
        cost = self._price.cost(prompt, answer) if self._price else 0.0
        return Plan(last, Spend(1, 0, prompt + answer, cost), answer)

    @contextmanager
    def kept(self, messages: Sequence[Message], *, only_if: bool) -> Generator[None]:
        """Set aside what a final answer takes, as far as there is so much, while other agents spend from the budget."""
        reservation = self._set_aside(self._meter.prompt(messages)) if only_if else None
        try:
            yield
        finally:
            if reservation is not None:
                self._budget.settle(reservation, Spend())

    def _set_aside(self, prompt: int) -> Reservation | None:
        cost = self._price.cost(2 * prompt, self._final) if self._price else 0.0
        for amount in (Spend(1, 0, 2 * prompt + self._final, cost), Spend(steps=1)):
            with suppress(BudgetExceeded):
                return self._budget.reserve(amount)
        return None

    def seconds_for_work(self) -> float | None:
        """Seconds until only the time for a final answer is left; None is no limit."""
        left = self._budget.seconds_left()
        return None if left is None else max(0.0, left - self._final_seconds)

    def _last(self, again: bool) -> StopReason | None:
        steps, calls = self._budget.left("steps"), self._budget.left("tool_calls")
        seconds = self.seconds_for_work()
        if steps is not None and steps <= 1:
            return StopReason.STEPS
        if calls is not None and calls < 1:
            return StopReason.TOOL_CALLS
        if seconds is not None and seconds <= 0 and not again:
            return StopReason.SECONDS
        return None

    def _room(self, prompt: int) -> float | None:
        """Tokens of answer that are left after paying for `prompt` tokens of prompt; None is no limit."""
        rooms = [room for _, room in self._rooms(prompt)]
        return min(rooms) if rooms else None

    def _rooms(self, prompt: int) -> list[tuple[StopReason, float]]:
        rooms: list[tuple[StopReason, float]] = []
        if (tokens := self._budget.left("tokens")) is not None:
            rooms.append((StopReason.TOKENS, tokens - prompt))
        money = self._budget.left("cost_usd")
        if money is not None and self._price is not None:
            after, price = money - self._price.cost(prompt, 0), self._price.output
            free = math.inf if after >= 0 else -math.inf
            rooms.append((StopReason.COST, after * 1e6 / price if price else free))
        return rooms

    def _scarcest(self) -> StopReason:
        return min(self._rooms(0), key=lambda room: room[1])[0]

    def _out_of_room(self, prompt: int) -> BudgetExceeded:
        """Not even a prompt of so many tokens and the shortest answer fit."""
        limit = self._scarcest()
        needed = self._price.cost(prompt, 1) if limit is StopReason.COST and self._price else prompt + 1
        left = self._budget.left(limit.value) or 0.0
        cap = getattr(self._budget.limits, limit.value)
        return BudgetExceeded(limit.value, left if cap is None else cap, 0.0 if cap is None else cap - left, needed)
