"""Fixtures of the tools' tests; `perform` is of use to tests across packages too."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import MCPServer, Observation, StdioServer, Tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]


@pytest.fixture
def gate() -> Gate:
    """A gate that lets all pass."""
    return Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))


@pytest.fixture
def perform(gate: Gate) -> Perform:
    """Checks the arguments and calls the tool as an agent does, through the gate."""

    async def perform(tool: Tool, arguments: dict[str, Any]) -> Observation:
        checked = tool.check(arguments)
        action = Action(resource=tool.resource, verb="call", arguments=checked)
        return await gate.perform(action, lambda admission: tool.call(checked, admission))

    return perform


@pytest.fixture
def server() -> Server:
    """Makes the source for one of the scripts in `servers`, named like it."""

    def make(script: str, *args: str, connect_timeout: float = 30.0, **options: Any) -> MCPServer:
        path = str(Path(__file__).parent / "servers" / f"{script}.py")
        config = StdioServer(sys.executable, (path, *args), **options)
        return MCPServer(script, config, connect_timeout=connect_timeout)

    return make


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs; one that ended and was not yet collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # no /proc on this system
        state = ""
    if state:
        return state != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(name="is_alive")
def is_alive_fixture() -> Callable[[int], bool]:
    return is_alive
