"""A server of the newest protocol whose list of tools grows, and which tells how far a call has come."""

from __future__ import annotations

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("lively")


def grown() -> str:
    return "I am new"


@server.tool()
async def grow(context: Context) -> str:
    """Add a tool."""
    server.add_tool(grown)
    await context.notify_tools_changed()
    return "grown"


@server.tool()
async def work(context: Context) -> str:
    """Work in two steps."""
    for step in (1, 2):
        await context.report_progress(step, 2, f"step {step}")
    return "done"


server.run()
