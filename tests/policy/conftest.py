"""What the policy's tests share."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.policy import Policy, SecurityPolicy

WriteFile = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Writes a file into the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random, and the same in every run."""
    return random.Random(request.node.name)


@pytest.fixture
def open_policy() -> Policy:
    """A policy that allows everything."""
    return Policy(rules=[SecurityPolicy(resource="*", actions=["*"], id="all")])


@pytest.fixture
def asking_policy() -> Policy:
    """A policy that asks about everything."""
    return Policy(rules=[SecurityPolicy(resource="*", actions=["*"], effect="ask", id="ask-all")])
