"""Quotas, and the ledger that they and rates are kept in."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from corral.policy import (
    Action,
    Admission,
    Denied,
    Gate,
    Layers,
    Ledger,
    Policy,
    Quota,
    Quotas,
    Rate,
    RateLimits,
    SecurityPolicy,
)

MONEY = Quota(resource="tool:bank/*", of="args.amount", most=100, seconds=60)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def pay(amount: Any, user: str = "user:ann") -> Action:
    return Action("tool:bank/pay", "call", user=user, arguments={"amount": amount})


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger | None:
    return Ledger(tmp_path / "ledger.sqlite3") if request.param == "file" else None


def test_no_span_of_time_sees_more_than_the_quota(ledger: Ledger | None) -> None:
    clock = Clock()
    quotas = Quotas([MONEY], ledger, clock=clock)
    assert quotas.take(pay(60), "") is None
    clock.now += 50
    assert quotas.take(pay(40), "") is None
    why = quotas.take(pay(1), "")
    assert why == "the quota of 100 amount in 60 s for tool:bank/* has 0 left, and this takes 1"
    clock.now += 11  # the first is out of the window, the second is not
    assert quotas.take(pay(61), "") is not None
    assert quotas.take(pay(60), "") is None


def test_users_are_counted_by_themselves_and_others_not_at_all(ledger: Ledger | None) -> None:
    quotas = Quotas([MONEY], ledger, clock=Clock())
    assert quotas.take(pay(100), "") is None
    assert quotas.take(pay(100, "user:bob"), "") is None
    assert quotas.take(Action("tool:mail/send", "call", arguments={"amount": 999}), "") is None
    assert quotas.take(pay(1), "") is not None


@pytest.mark.parametrize("amount", [-5, True, "5", None, float("nan"), float("inf"), [1]])
def test_what_is_no_amount_is_refused(ledger: Ledger | None, amount: Any) -> None:
    quotas = Quotas([MONEY], ledger, clock=Clock())
    assert quotas.take(pay(amount), "") == "a quota counts args.amount, which is no amount here"
    assert quotas.take(pay(100), "") is None


def test_bytes_are_those_of_the_arguments(ledger: Ledger | None) -> None:
    quotas = Quotas([Quota(resource="*", of="bytes", most=30, seconds=9)], ledger, clock=Clock())
    assert quotas.take(Action("tool:x/y", "call", arguments={"t": "ü" * 10}), "") is None
    assert quotas.take(Action("tool:x/y", "call", arguments={"t": "u"}), "") is not None


def test_a_clock_that_jumps_back_frees_nothing(ledger: Ledger | None) -> None:
    clock = Clock()
    quotas = Quotas([MONEY], ledger, clock=clock)
    assert quotas.take(pay(100), "") is None
    clock.now -= 500
    assert quotas.take(pay(1), "") is not None
    clock.now += 559
    assert quotas.take(pay(1), "") is not None


def test_what_was_counted_survives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    program = f"""
from pathlib import Path
from corral.policy import Action, Ledger, Quota, Quotas, Rate, RateLimits
ledger = Ledger(Path({str(path)!r}))
action = Action("tool:bank/pay", "call", user="user:ann", arguments={{"amount": 70}})
quota = Quota(resource="tool:bank/*", of="args.amount", most=100, seconds=60)
print(Quotas([quota], ledger).take(action, ""))
print(RateLimits([Rate(resource="tool:*", calls=2, seconds=3600)], ledger=ledger).take(action, ""))
"""
    said = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "ab"]
    assert said[0].stdout == "None\nNone\n"
    assert said[1].stdout.startswith("the quota of 100")
    rates = RateLimits([Rate(resource="tool:*", calls=2, seconds=3600)], ledger=Ledger(path))
    assert rates.take(pay(1), "") is not None


def test_a_hundred_threads_never_pay_more_than_the_quota(ledger: Ledger | None) -> None:
    quotas = Quotas([MONEY], ledger, clock=Clock())
    paid: list[int] = []

    def work() -> None:
        if quotas.take(pay(3), "") is None:
            paid.append(3)

    threads = [threading.Thread(target=work) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(paid) == 99


def test_a_ledger_that_can_not_be_used_refuses(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"no database at all, and long enough to be taken for one" * 20)
    assert "can't be read" in str(Quotas([MONEY], Ledger(path)).take(pay(1), ""))
    rates = RateLimits([Rate(resource="tool:*", calls=2, seconds=60)], ledger=Ledger(path))
    assert "can't be read" in str(rates.take(pay(1), ""))
    assert Quotas([MONEY], Ledger(path)).take(Action("tool:mail/send", "call"), "") is None  # it is about no quota


@pytest.mark.parametrize("change", [{"of": "amount"}, {"most": -1}, {"seconds": 0}, {"per": "day"}, {"resource": "x"}])
def test_a_wrong_quota_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Quota.model_validate({"resource": "tool:bank/*", "of": "bytes", "most": 1, "seconds": 1, **change})


async def test_a_gate_holds_its_policy_to_quotas_by_itself() -> None:
    rules = [SecurityPolicy(resource="*", actions=["*"])]
    gate = Gate(Layers(Policy(rules=rules, quotas=[MONEY]), Policy(default="inherit")))

    async def effect(admission: Admission) -> str:
        return "paid"

    assert await gate.perform(pay(100), effect) == "paid"
    with pytest.raises(Denied, match="the quota of 100 amount"):
        await gate.perform(pay(1), effect)
