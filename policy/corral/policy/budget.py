"""Budgets: what a run and all that it starts may spend, reserved before and settled after each effect."""

from __future__ import annotations

import math
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

    @property
    def is_valid(self) -> bool:
        """Whether it is an amount: no part is negative, infinite or no number."""
        return min(self.steps, self.tool_calls, self.tokens) >= 0 and 0 <= self.cost_usd < math.inf

    def check(self) -> None:
        """Raises ValueError when it is no amount."""
        if not self.is_valid:
            raise ValueError(f"{self} is no amount that can be spent")

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


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """What was set aside for one effect; give it back once, with `settle` of the budget that made it."""

    amount: Spend


class Budget:
    """What is left of some limits, shared by a tree of agents; safe from several threads.

    A child spends from its parents too, so a reservation succeeds only where every level has room; the whole tree is
    checked and charged under one lock, and parallel reservations can't overshoot a cap together.

    Args:
        spent: What the run had spent before it was resumed.
        seconds_spent: How long it had run before it was resumed.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: Spend | None = None,
        seconds_spent: float = 0.0,
    ) -> None:
        if spent is not None:
            spent.check()
        self.limits = limits or Limits()
        self._clock = clock
        self._started = clock() - seconds_spent
        self._parent: Budget | None = None
        self._lock = threading.Lock()
        self._spent = spent or Spend()
        self._reserved = Spend()
        self._open: set[Reservation] = set()
        self._caps = _caps(self.limits)

    def child(self, limits: Limits | None = None, *, seconds_spent: float = 0.0) -> Budget:
        """A budget for something that this one pays for.

        Args:
            seconds_spent: How long it had run before it was resumed.

        Raises:
            BudgetExceeded: No more levels are allowed.
        """
        depth = self.depth_left()
        if depth is not None and depth < 1:
            cap = min(level.limits.depth for level in self._levels() if level.limits.depth is not None)
            raise BudgetExceeded("depth", cap, cap)
        # What it has spent is the parent's to keep over a resume.
        child = Budget(limits, clock=self._clock, seconds_spent=seconds_spent)
        child._parent = self
        child._lock = self._lock
        return child

    def is_within(self, other: Budget) -> bool:
        """Whether what is spent here is spent from `other` too."""
        return any(level is other for level in self._levels())

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
        """Seconds since this budget was made, and those before a resume."""
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
            ValueError: The amount is negative or no number, and would make room instead of taking it.
        """
        amount.check()
        reservation = Reservation(amount)
        with self._lock:
            for level in self._levels():
                level._check(amount)
            for level in self._levels():
                level._reserved += amount
                level._open.add(reservation)
        return reservation

    def settle(self, reservation: Reservation, actual: Spend) -> None:
        """Turn a reservation into what the effect really cost, be it less or more.

        Raises:
            ValueError: The reservation is not this budget's or was settled before, and nothing changed; or `actual` is
                negative or no number, and the reserved amount counts as spent.
        """
        with self._lock:
            if reservation not in self._open:
                raise ValueError("this reservation was settled before, or another budget made it")
            cost = actual if actual.is_valid else reservation.amount
            for level in self._levels():
                level._release(reservation)
                level._spent += cost
        actual.check()

    def _release(self, reservation: Reservation) -> None:
        self._open.discard(reservation)
        # Sums of floats drift; with nothing reserved, nothing is held.
        self._reserved = self._reserved - reservation.amount if self._open else Spend()

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
                raise BudgetExceeded(name, cap, self._held(name), wanted)
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
