"""Agents and tools for other programs: `corral mcp serve`, asked by the SDK's own client."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from ..tools.processes import Process
from .hand import DONE, command, environment, hired, observed


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with hired(tmp_path) as folder:
        yield folder


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
        assert tool.annotations is not None
        assert tool.annotations.idempotent_hint is False
        with anyio.fail_after(60):
            return await client.call_tool("hand", {"task": "Care for Bella"}, progress_callback=person.progress)


@pytest.mark.parametrize(("mode", "agrees"), [("auto", True), ("legacy", True), ("auto", False)])
async def test_the_sdks_client_runs_an_agent_over_stdio_and_its_person_is_asked(
    folder: Path, mode: str, agrees: bool
) -> None:
    run = command(folder)
    server = StdioServerParameters(command=run[0], args=run[1:], env=environment(folder), cwd=str(folder))
    person = Person(agrees=agrees)
    result = await ask(server, person, mode)
    assert (result.is_error, result.content[0].text) == (False, DONE)
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
    assert result.content[0].text == DONE
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
