"""The judge against Cedar's own, over random policies; `benchmarks/policy_cedar.py` does it for longer."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "policy_cedar.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("policy_cedar", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("beyond", [False, True])
def test_cedar_says_the_same_and_is_stricter_where_it_can_not_be_told_all(bench: Any, beyond: bool) -> None:
    rng = random.Random(7)
    results = [bench.compare(rng, beyond=beyond) for _ in range(10_000 // bench.BATCH)]
    assert sum(cases for cases, _ in results) == 10_000
    assert sum(wrong for _, wrong in results) == 0
