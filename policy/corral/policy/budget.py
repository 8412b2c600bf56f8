"""Budgets: what a run and all that it starts may spend, reserved before and settled after each effect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from corral.policy.errors import BudgetExceeded

__all__ = ["Budget", "Limits", "Reservation", "Spend"]

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Limits(BaseModel):
    """Caps of a run; None is no cap of its own, though a parent's still holds.

    Attributes:
        steps: Model calls.
        tool_calls: Tool calls and code cells, those made by code included.
        tokens: Input and output tokens of all model calls.
        cost_usd: Money for model calls, US dollars.
        seconds: Wall time from the start of the run.
        depth: Levels of agents below this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Count | None = None
    tool_calls: Count | None = None
    tokens: Count | None = None
    cost_usd: Amount | None = None
    seconds: Amount | None = None
    depth: Count | None = None

    def narrowed(self, other: Limits) -> Limits:
        """The stricter cap of both, one by one."""

        def stricter(name: str) -> float | None:
            caps = [cap for cap in (getattr(self, name), getattr(other, name)) if cap is not None]
            return min(caps) if caps else None

        return Limits.model_validate({name: stricter(name) for name in Limits.model_fields})


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount of everything that is counted."""

    steps: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.steps + other.steps,
            self.tool_calls + other.tool_calls,
            self.tokens + other.tokens,
            self.cost_usd + other.cost_usd,
        )

    def __sub__(self, other: Spend) -> Spend:
        return Spend(
            self.steps - other.steps,
            self.tool_calls - other.tool_calls,
            self.tokens - other.tokens,
            self.cost_usd - other.cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one effect; give it back with `Budget.settle`."""

    amount: Spend


class Budget:
    """What is left of some limits, shared by a tree of agents; safe from several threads.

    A child spends from its parents too, so a reservation succeeds only where every level has room; the whole tree is
    checked and charged under one lock, and parallel reservations can't overshoot a cap together.
    """

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._started = clock()
        self._parent: Budget | None = None
        self._lock = threading.Lock()
        self._spent = Spend()
        self._reserved = Spend()
        self._caps = _caps(self.limits)

    def child(self, limits: Limits | None = None) -> Budget:
        """A budget for something that this one pays for.

        Raises:
            BudgetExceeded: No more levels are allowed.
        """
        depth = self.depth_left()
        if depth is not None and depth < 1:
            raise BudgetExceeded("depth", self.limits.depth or 0, self.limits.depth or 0)
        child = Budget(limits, clock=self._clock)
        child._parent = self
        child._lock = self._lock
        return child

    @property
    def spent(self) -> Spend:
        """What effects that ended have cost, children's included."""
        with self._lock:
            return self._spent

    def left(self, name: str) -> float | None:
        """How much of steps, tool_calls, tokens or cost_usd can still be reserved here; None is no cap."""
        with self._lock:
            rooms = [cap - level._held(key) for level in self._levels() for key, cap in level._caps if key == name]
        return min(rooms) if rooms else None

    def seconds_left(self) -> float | None:
        """Seconds until the earliest deadline of this budget and its parents; negative when it has passed."""
        deadlines = [b._started + b.limits.seconds for b in self._levels() if b.limits.seconds is not None]
        return min(deadlines) - self._clock() if deadlines else None

    def seconds_spent(self) -> float:
        """Seconds since this budget was made."""
        return self._clock() - self._started

    def depth_left(self) -> int | None:
        """How many levels of children may still be made below this one; None is no cap."""
        left: int | None = None
        for above, level in enumerate(self._levels()):
            if level.limits.depth is not None:
                room = level.limits.depth - above
                left = room if left is None else min(left, room)
        return left

    def reserve(self, amount: Spend) -> Reservation:
        """Set `amount` aside, here and in every parent, or nowhere.

        Raises:
            BudgetExceeded: Some level has not so much left, or its time is over; nothing was set aside.
        """
        with self._lock:
            for level in self._levels():
                level._check(amount)
            for level in self._levels():
                level._reserved += amount
        return Reservation(amount)

    def settle(self, reservation: Reservation, actual: Spend) -> None:
        """Turn a reservation into what the effect really cost, be it less or more."""
        with self._lock:
            for level in self._levels():
                level._reserved -= reservation.amount
                level._spent += actual

    def _levels(self) -> list[Budget]:
        levels: list[Budget] = []
        level: Budget | None = self
        while level is not None:
            levels.append(level)
            level = level._parent
        return levels

    def _held(self, name: str) -> float:
        return getattr(self._spent, name) + getattr(self._reserved, name)

    def _check(self, amount: Spend) -> None:
        for name, cap in self._caps:
            wanted = getattr(amount, name)
            if wanted and self._held(name) + wanted > cap:
                raise BudgetExceeded(name, cap, self._held(name))
        if self.limits.seconds is not None and self._clock() - self._started > self.limits.seconds:
            raise BudgetExceeded("seconds", self.limits.seconds, self._clock() - self._started)


def _caps(limits: Limits) -> tuple[tuple[str, float], ...]:
    counted = (
        ("steps", limits.steps),
        ("tool_calls", limits.tool_calls),
        ("tokens", limits.tokens),
        ("cost_usd", limits.cost_usd),
    )
    return tuple((name, cap) for name, cap in counted if cap is not None)
