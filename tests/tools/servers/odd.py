"""An MCP server whose tools do what servers should not: die, answer with megabytes, leave children behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

OBJECT = {"type": "object"}
HINTS = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
TOOLS = [
    types.Tool(name="pid", description="This process.", input_schema=OBJECT, annotations=HINTS),
    types.Tool(name="die", description="Kill this process.", input_schema=OBJECT),
    types.Tool(
        name="die idempotently",
        description="The same, said to be repeatable.",
        input_schema=OBJECT,
        annotations=types.ToolAnnotations(idempotent_hint=True),
    ),
    types.Tool(
        name="big",
        description="So many bytes.",
        input_schema={"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]},
    ),
    types.Tool(name="wait", description="Never answer.", input_schema=OBJECT),
    types.Tool(name="meet", description="Answer once two calls are here.", input_schema=OBJECT),
    types.Tool(name="fail", description="An error result.", input_schema=OBJECT),
    types.Tool(name="refuse", description="A JSON-RPC error.", input_schema=OBJECT),
    types.Tool(name="environment", description="The names of the variables.", input_schema=OBJECT),
    types.Tool(name="child", description="Start a child that outlives its parent.", input_schema=OBJECT),
    types.Tool(name="mixed", description="Content of all kinds.", input_schema=OBJECT),
    types.Tool(
        name="search",
        description="Of the open world.",
        input_schema=OBJECT,
        annotations=types.ToolAnnotations(read_only_hint=True),
    ),
]


def text(value: object) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(value))])


def mixed() -> types.CallToolResult:
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="a picture:"),
            types.ImageContent(type="image", data="AAAA" * 4000, mime_type="image/png"),
            types.AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
            types.ResourceLink(type="resource_link", name="notes", uri="file:///notes.md"),
            types.EmbeddedResource(
                type="resource",
                resource=types.TextResourceContents(uri="file:///a.txt", text="embedded words", mime_type="text/plain"),
            ),
            types.EmbeddedResource(
                type="resource",
                resource=types.BlobResourceContents(uri="file:///a.bin", blob="AAAA", mime_type="application/x-bin"),
            ),
        ],
        structured_content={"seen": 6},
    )


async def main() -> None:
    here = 0
    both = anyio.Event()

    async def list_tools(context: object, params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=TOOLS)

    async def call_tool(context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        nonlocal here
        match params.name:
            case "pid":
                return text(os.getpid())
            case "die" | "die idempotently":
                os.kill(os.getpid(), signal.SIGKILL)
            case "big":
                return text("x" * int((params.arguments or {})["size"]))
            case "wait":
                await anyio.sleep_forever()
            case "meet":
                here += 1
                if here == 2:
                    both.set()
                await both.wait()
                return text("met")
            case "fail":
                return types.CallToolResult(
                    content=[types.TextContent(type="text", text="no such city")], is_error=True
                )
            case "environment":
                return text(" ".join(sorted(os.environ)))
            case "child":
                child = subprocess.Popen(  # noqa: ASYNC220
                    [sys.executable, "-c", "import signal; signal.pause()"], stdout=subprocess.DEVNULL
                )
                return text(child.pid)
            case "mixed":
                return mixed()
        raise ValueError("refused at /some/host/path")

    server = Server("odd", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


anyio.run(main)
