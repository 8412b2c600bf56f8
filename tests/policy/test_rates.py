from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from corral.policy import Action, Admission, Denied, Gate, Policy, Rate, RateLimits, Repeats, SecurityPolicy


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def call(name: str = "a/b", principal: str = "agent:main") -> Action:
    return Action(f"tool:{name}", "call", principal)


def taken(limits: RateLimits, action: Action, tries: int) -> int:
    return sum(limits.take(action, "") is None for _ in range(tries))


def test_a_bucket_empties_and_fills_evenly() -> None:
    clock = Clock()
    limits = RateLimits([Rate(resource="tool:*", calls=3, seconds=30)], clock=clock)
    assert taken(limits, call(), 5) == 3
    assert "try again in 10.0 s" in str(limits.take(call(), ""))
    clock.now += 10
    assert taken(limits, call(), 5) == 1
    clock.now += 1000
    assert taken(limits, call(), 5) == 3


def test_each_has_a_bucket_of_its_own_or_all_share_one() -> None:
    each = RateLimits([Rate(resource="tool:*", calls=1, seconds=60)], clock=Clock())
    agents = RateLimits([Rate(resource="tool:*", calls=1, seconds=60, per="principal")], clock=Clock())
    together = RateLimits([Rate(resource="tool:*", calls=1, seconds=60, per="all")], clock=Clock())
    actions = [call("a/b"), call("a/c"), call("a/b", "agent:x")]
    assert [each.take(action, "") is None for action in actions] == [True, True, False]
    assert [agents.take(action, "") is None for action in actions] == [True, False, True]
    assert [together.take(action, "") is None for action in actions] == [True, False, False]


def test_of_several_rates_all_must_have_room_and_a_refusal_takes_nothing() -> None:
    limits = RateLimits(
        [Rate(resource="tool:*", calls=2, seconds=60, per="all"), Rate(resource="tool:a/b", calls=1, seconds=60)],
        clock=Clock(),
    )
    assert taken(limits, call("a/b"), 5) == 1
    assert taken(limits, call("a/c"), 5) == 1
    assert limits.take(Action("memory:long", "read"), "") is None


def test_a_clock_that_jumps_back_fills_nothing() -> None:
    clock = Clock()
    limits = RateLimits([Rate(resource="tool:*", calls=1, seconds=10)], clock=clock)
    assert taken(limits, call(), 1) == 1
    clock.now -= 500
    assert taken(limits, call(), 1) == 0
    clock.now += 5
    assert taken(limits, call(), 1) == 0


def test_buckets_survive_a_restart() -> None:
    clock = Clock()
    rates = [Rate(resource="tool:*", calls=2, seconds=60)]
    limits = RateLimits(rates, clock=clock)
    assert taken(limits, call(), 2) == 2
    again = RateLimits(rates, json.loads(json.dumps(limits.state)), clock=clock)
    assert taken(again, call(), 2) == 0
    forged = RateLimits(rates, {"0 tool:a/b": [1e9, 0], "9 x": [1, 1], "y": [0, 0]}, clock=clock)
    assert taken(forged, call(), 5) == 2


def test_threads_take_no_more_than_there_is() -> None:
    limits = RateLimits([Rate(resource="*", calls=100, seconds=60)], clock=Clock())
    start = threading.Barrier(8)

    def work() -> int:
        start.wait(5)
        return taken(limits, call(), 50)

    with ThreadPoolExecutor(8) as pool:
        assert sum(future.result() for future in [pool.submit(work) for _ in range(8)]) == 100


@pytest.mark.parametrize(
    "fields", [{"calls": 0}, {"seconds": 0}, {"seconds": float("inf")}, {"per": "day"}, {"resource": "tools"}]
)
def test_a_rate_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rate.model_validate({"resource": "tool:*", "calls": 1, "seconds": 1, **fields})


def test_the_same_call_again_and_again_is_refused_and_another_is_not() -> None:
    repeats = Repeats(most=2, window=4)
    assert [repeats.take(call(), digest) is None for digest in "aaab"] == [True, True, False, True]
    assert repeats.take(Action("model:x/y", "generate"), "a") is None
    assert [repeats.take(call(), digest) is None for digest in "cda"] == [True, True, True]
    with pytest.raises(ValueError, match="window"):
        Repeats(most=5, window=4)


async def test_the_gate_holds_the_policys_rates_and_says_when_to_come_again() -> None:
    rules = [SecurityPolicy(resource="*", actions=["*"])]
    gate = Gate(Policy(rules=rules, rates=[Rate(resource="tool:*", calls=1, seconds=60)]), throttles=[Repeats()])

    async def effect(admission: Admission) -> None: ...

    await gate.perform(call(), effect)
    with pytest.raises(Denied, match="try again in"):
        await gate.perform(call(), effect)
