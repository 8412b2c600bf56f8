"""The official conformance suite against our MCP source: some legs here, all of them in `.ci/run`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.tools import StdioServer

SUITE = Path(__file__).parents[2] / "benchmarks" / "conformance_suite.py"


def play(cache: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SUITE), "--cache", str(cache), "--jobs", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.node
def test_the_official_suite_is_passed_by_doing_and_not_by_doing_nothing(
    request: pytest.FixtureRequest, node_server: Callable[..., StdioServer]
) -> None:
    cache = Path(request.config.cache.mkdir("mcp-conformance"))
    good = play(cache, "tools_call", "sep-2640-client-verify-digest")
    assert good.stdout.splitlines()[-1] == "legs 4/4 passed, 0 vacuous", good.stdout + good.stderr
    idle = play(cache, "--idle", "sep-2640-client-verify-digest")
    assert idle.returncode == 1
    assert idle.stdout.splitlines()[-1] == "legs 0/1 passed, 1 vacuous", idle.stdout + idle.stderr
