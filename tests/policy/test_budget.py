from __future__ import annotations

import contextlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from corral.policy import Action, Admission, Budget, BudgetExceeded, Gate, Limits, Policy, Spend


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_reserved_is_held_until_it_is_settled() -> None:
    budget = Budget(Limits(tokens=100))
    reservation = budget.reserve(Spend(tokens=60))
    assert budget.left("tokens") == 40
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve(Spend(tokens=41))
    assert (caught.value.limit, caught.value.cap, caught.value.spent) == ("tokens", 100, 60)
    budget.settle(reservation, Spend(tokens=10))
    assert budget.left("tokens") == 90
    assert budget.spent == Spend(tokens=10)


def test_what_cost_more_than_reserved_counts_in_full() -> None:
    budget = Budget(Limits(tokens=100))
    budget.settle(budget.reserve(Spend(tokens=1)), Spend(tokens=150))
    assert budget.left("tokens") == -50
    with pytest.raises(BudgetExceeded):
        budget.reserve(Spend(tokens=1))


def test_a_reservation_is_settled_once_and_by_its_own_budget() -> None:
    budget = Budget(Limits(tokens=10))
    reservation = budget.reserve(Spend(tokens=5))
    with pytest.raises(ValueError, match="another budget"):
        Budget().settle(reservation, Spend())
    budget.settle(reservation, Spend())
    with pytest.raises(ValueError, match="settled before"):
        budget.settle(reservation, Spend())
    assert budget.left("tokens") == 10


@pytest.mark.parametrize("amount", [Spend(tokens=-1), Spend(cost_usd=float("nan")), Spend(cost_usd=float("inf"))])
def test_an_amount_that_would_make_room_is_refused_and_the_reserve_counts(amount: Spend) -> None:
    budget = Budget(Limits(cost_usd=10, tokens=10))
    with pytest.raises(ValueError, match="no amount"):
        budget.reserve(amount)
    reservation = budget.reserve(Spend(tokens=3))
    with pytest.raises(ValueError, match="no amount"):
        budget.settle(reservation, amount)
    assert budget.spent == Spend(tokens=3)


def test_money_does_not_drift() -> None:
    budget = Budget(Limits(cost_usd=1.0))
    for _ in range(1000):
        held = [budget.reserve(Spend(cost_usd=0.1)) for _ in range(3)]
        for reservation in held:
            budget.settle(reservation, Spend())
    assert budget.left("cost_usd") == 1.0


def test_a_child_spends_from_its_parents_and_holds_no_more_than_they_do() -> None:
    top = Budget(Limits(tokens=100))
    child = top.child(Limits(tokens=1000)).child(Limits(tokens=30))
    with pytest.raises(BudgetExceeded) as caught:
        child.reserve(Spend(tokens=31))
    assert caught.value.cap == 30
    child.settle(child.reserve(Spend(tokens=30)), Spend(tokens=30))
    assert top.spent.tokens == 30
    assert top.left("tokens") == 70


def test_a_refusal_above_sets_nothing_aside_below() -> None:
    top = Budget(Limits(tokens=10))
    child = top.child(Limits(tokens=100))
    with pytest.raises(BudgetExceeded):
        child.reserve(Spend(tokens=11))
    assert child.left("tokens") == 10


def test_levels_below_are_counted() -> None:
    top = Budget(Limits(depth=2))
    below = top.child().child(Limits(depth=5))
    assert below.depth_left() == 0
    with pytest.raises(BudgetExceeded, match="the limit of 2 depth"):
        below.child()


def test_time_ends_for_the_whole_tree() -> None:
    clock = Clock()
    top = Budget(Limits(seconds=10), clock=clock)
    clock.now = 4
    child = top.child(Limits(seconds=100))
    assert child.seconds_left() == 6
    clock.now = 10.5
    with pytest.raises(BudgetExceeded, match="seconds"):
        child.reserve(Spend())


def test_a_resumed_budget_goes_on_where_it_stood() -> None:
    clock = Clock()
    budget = Budget(Limits(tokens=10, seconds=60), clock=clock, spent=Spend(tokens=9), seconds_spent=50)
    assert budget.left("tokens") == 1
    assert budget.seconds_left() == 10


def test_limits_are_narrowed_one_by_one() -> None:
    both = Limits(steps=5, tokens=10).narrowed(Limits(steps=7, tokens=3, depth=1))
    assert both == Limits(steps=5, tokens=3, depth=1)


@pytest.mark.parametrize("cap", [0, 1, 37, 99, 100])
async def test_a_hundred_calls_at_once_never_go_past_a_cap(open_policy: Policy, cap: int) -> None:
    budget = Budget(Limits(tool_calls=cap))
    gates = [Gate(open_policy, budget.child()) for _ in range(4)]
    ran = 0

    async def effect(admission: Admission) -> None:
        nonlocal ran
        ran += 1
        await anyio.lowlevel.checkpoint()

    async def call(number: int) -> None:
        with contextlib.suppress(BudgetExceeded):
            await gates[number % 4].perform(Action("tool:x/y", "call"), effect, reserve=Spend(tool_calls=1))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(call, number)
    assert ran == budget.spent.tool_calls == cap


def test_sixteen_threads_never_go_past_a_cap() -> None:
    top = Budget(Limits(tokens=1000))
    children = [top.child(Limits(tokens=400)) for _ in range(4)]
    start = threading.Barrier(16)

    def spend(number: int) -> int:
        rng = random.Random(number)
        start.wait(5)
        got = 0
        for _ in range(200):
            amount = rng.randrange(1, 8)
            try:
                reservation = children[number % 4].reserve(Spend(tokens=amount))
            except BudgetExceeded:
                continue
            assert (top.left("tokens") or 0) >= 0
            actual = rng.randrange(amount + 1)
            children[number % 4].settle(reservation, Spend(tokens=actual))
            got += actual
        return got

    with ThreadPoolExecutor(16) as pool:
        total = sum(pool.map(spend, range(16)))
    assert top.spent.tokens == total <= 1000
    assert all(child.spent.tokens <= 400 for child in children)
