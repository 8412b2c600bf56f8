"""Our tools for other MCP clients: the SDK's own, and ours."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from corral.policy import Gate
from corral.tools import Effect, HttpServer, MCPServer, Observation, Tool, Toolbox, ToolServer, tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
SCRIPT = str(Path(__file__).parent / "servers" / "serving.py")


async def test_an_external_client_calls_a_tool_and_meets_a_denial() -> None:
    async with Client(StdioServerParameters(command=sys.executable, args=[SCRIPT])) as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert tools["area"].input_schema["properties"]["width"]["description"] == "Metres."
        assert tools["area"].annotations is not None
        assert tools["area"].annotations.read_only_hint is True
        good = await client.call_tool("area", {"width": 2, "height": 3})
        assert (good.is_error, good.structured_content) == (False, {"area": 6.0})
        denied = await client.call_tool("burn", {"field": "hay"})
        assert denied.is_error
        assert "burns" not in str(denied.content)
        wrong = await client.call_tool("area", {"width": 2})
        assert (wrong.is_error, wrong.content[0].text) == (True, "bad arguments for area: missing argument 'height'")
        unknown = await client.call_tool("are", {})
        assert "did you mean area?" in unknown.content[0].text


async def test_a_client_sees_a_tools_title_and_icon_and_that_asking_an_agent_again_is_a_new_run(gate: Gate) -> None:
    async def answered(arguments: dict[str, Any]) -> Observation:
        return Observation("done")

    icon = {"src": "https://farm.example/hand.png", "mimeType": "image/png", "sizes": ["48x48"]}
    hand = Tool("hand", "agent:hand", answered, title="Farm hand", icons=[icon], effect=Effect.IDEMPOTENT)
    async with Toolbox(hand) as box, Client(ToolServer(box, gate)._make()) as client:
        (listed,) = (await client.list_tools()).tools
    assert listed.title == "Farm hand"
    assert [each.model_dump(by_alias=True, exclude_none=True) for each in listed.icons or ()] == [icon]
    assert listed.annotations is not None
    assert listed.annotations.idempotent_hint is False


async def test_a_client_that_lists_again_sees_what_a_server_behind_us_added(
    gate: Gate, server: Callable[..., MCPServer]
) -> None:
    async with Toolbox(server("lively")) as box, Client(ToolServer(box, gate)._make(), cache=None) as client:
        assert "lively_grown" not in [each.name for each in (await client.list_tools()).tools]
        await client.call_tool("lively_grow", {})
        with anyio.fail_after(10):
            while not box.has_changed:
                await anyio.lowlevel.checkpoint()
        assert "lively_grown" in [each.name for each in (await client.list_tools()).tools]
        assert (await client.call_tool("lively_grown", {})).content[0].text == "I am new"


async def test_our_own_client_is_served_over_http(perform: Perform, gate: Gate) -> None:
    import uvicorn

    @tool(effect="idempotent")
    def double(number: int) -> dict[str, int]:
        """Twice the number."""
        return {"twice": 2 * number}

    listener = socket.create_server(("127.0.0.1", 0))
    async with Toolbox(double) as offered:
        config = uvicorn.Config(ToolServer(offered, gate).http_app(), log_level="error", ws="none")
        web = uvicorn.Server(config)
        async with anyio.create_task_group() as group:
            group.start_soon(web.serve, [listener])
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            async with Toolbox(MCPServer("farm", HttpServer(url, trust=True))) as box:
                assert box.failures == {}
                assert box["farm_double"].effect is Effect.IDEMPOTENT
                assert (await perform(box["farm_double"], {"number": 4})).structured == {"twice": 8}
            web.should_exit = True
