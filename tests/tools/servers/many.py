"""An MCP server with 150 tools on three pages, and some that no client should take."""

from __future__ import annotations

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

PAGE = 60
RECURSIVE = {
    "type": "object",
    "properties": {"tree": {"$ref": "#/definitions/node"}},
    "required": ["tree"],
    "definitions": {
        "node": {
            "type": "object",
            "properties": {"value": {"type": ["integer", "string"]}, "next": {"$ref": "#/definitions/node"}},
            "required": ["value"],
        }
    },
}
EITHER = {
    "type": "object",
    "oneOf": [{"required": ["id"]}, {"required": ["name"]}],
    "properties": {"id": {"type": "integer"}},
}
REMOTE = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/never-fetched.json"}}}
ODD = [
    types.Tool(name="recursive", input_schema=RECURSIVE),
    types.Tool(name="either", input_schema=EITHER),
    types.Tool(name="remote", input_schema=REMOTE),
    types.Tool(name="broken", input_schema={"type": "object", "properties": {"a": {"type": "strnig"}}}),
    types.Tool(name="twice", description="the first", input_schema={"type": "object"}),
    types.Tool(name="twice", description="the second", input_schema={"type": "object"}),
    types.Tool(name="same.name", input_schema={"type": "object"}),
    types.Tool(name="same-name", input_schema={"type": "object"}),
    types.Tool(name="long" * 30, input_schema={"type": "object"}),
    types.Tool(name="two\nlines", input_schema={"type": "object"}),
]
TOOLS = [types.Tool(name=f"tool{number}", input_schema={"type": "object"}) for number in range(140)] + ODD


async def main() -> None:
    async def list_tools(context: object, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = int(params.cursor) if params is not None and params.cursor else 0
        following = str(start + PAGE) if start + PAGE < len(TOOLS) else None
        return types.ListToolsResult(tools=TOOLS[start : start + PAGE], next_cursor=following)

    async def call_tool(context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=params.name)])

    server = Server("many", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


anyio.run(main)
