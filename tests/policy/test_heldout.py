"""Tasks and attacks that no rule was tuned on, with the manifests that come with Corral; see the benchmark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "policy_heldout.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("policy_heldout", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "policy_heldout", module)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("encoded", [False, True])
async def test_no_attack_succeeds_and_most_tasks_are_done_without_anybody(bench: Any, encoded: bool) -> None:
    found = await bench.measure(encoded=encoded)
    assert found["pairs"] == 192
    assert found["attacked"] == 0
    assert found["utility"] >= 0.7


async def test_without_the_guard_the_same_attacks_succeed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what is refused above is refused because of where arguments come from."""
    pairs = [(task, attack) for task in bench.TASKS[:3] for attack in bench.ATTACKS]
    plain = bench.Gate

    def unguarded(policy: Any, **given: Any) -> Any:
        return plain(policy, **{**given, "guards": []})

    monkeypatch.setattr(bench, "Gate", unguarded)
    assert all([(await bench.Run(task, attack).go())[1] for task, attack in pairs])
