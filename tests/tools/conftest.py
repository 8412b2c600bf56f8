"""Fixtures of the tools' tests; `perform` and `node_server` are of use to tests across packages too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import MCPServer, Observation, StdioServer, Tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]

NODE_PACKAGES = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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


@pytest.fixture(scope="session")
def node_server(request: pytest.FixtureRequest) -> Callable[..., StdioServer]:
    """Makes the configuration of an npm server ("everything", "filesystem"), installed once into pytest's cache.

    Without Node the test is skipped, but fails where CI is set: there it must run.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        reason = "Node and npm are not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(request.config.cache.mkdir("mcp-node-servers"))
    wanted = " ".join(NODE_PACKAGES)
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        command = [
            npm,
            "install",
            "--no-fund",
            "--no-audit",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            *NODE_PACKAGES,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        stamp.write_text(wanted)

    def make(name: str, *args: str) -> StdioServer:
        script = folder / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
        return StdioServer(node, (str(script), *args))

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
