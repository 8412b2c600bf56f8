"""An MCP server that gives away its environment, in a result and in an error."""

from __future__ import annotations

import json
import os

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

TOOLS = [types.Tool(name=name, description="x", input_schema={"type": "object"}) for name in ("show", "fail")]


async def list_tools(context: object, parameters: object) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(context: object, parameters: types.CallToolRequestParams) -> types.CallToolResult:
    text = json.dumps(dict(os.environ))
    failed = parameters.name == "fail"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)


async def main() -> None:
    server = Server("environment", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


anyio.run(main)
