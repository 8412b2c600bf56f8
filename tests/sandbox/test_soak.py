"""`benchmarks/sandbox_soak.py` in small: cells with random crashes and a crowd leave nothing behind."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def benchmark(docker_image: None) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "sandbox_soak.py"
    spec = importlib.util.spec_from_file_location("sandbox_soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


async def test_cells_with_random_crashes_leave_nothing(benchmark: ModuleType) -> None:
    assert await benchmark.soak(150, workers=4, crashing=0.1) == []


async def test_a_crowd_is_held_and_leaves_nothing(benchmark: ModuleType) -> None:
    assert await benchmark.crowd(12, 3) == []


def test_what_has_grown_is_told(benchmark: ModuleType) -> None:
    before = benchmark.Census(10, 50.0, 1, 1, 2, 16.0, 1)
    after = benchmark.Census(12, 51.0, 1, 1, 2, 40.0, 1)
    assert after.grown(before, megabytes=8) == [
        "descriptors: 10 before, 12 after",
        "container_megabytes: 16.0 before, 40.0 after",
    ]
