"""A server of the newest protocol whose list of tools grows, and which talks in the middle of calls."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

warnings.simplefilter("ignore")
server = MCPServer("lively")


class Owner(BaseModel):
    name: str
    heads: int = 1


def grown() -> str:
    return "I am new"


async def ask_for_the_owner(cow: str) -> Elicit[Owner]:
    return Elicit(f"Whose cow is {cow}?", Owner)


@server.tool()
async def grow(context: Context) -> str:
    """Add a tool."""
    server.add_tool(grown)
    await context.notify_tools_changed()
    return "grown"


@server.resource("barn://door")
def door() -> str:
    return "open"


@server.tool()
async def slam(context: Context) -> str:
    """Shut the door."""
    await context.notify_resource_updated("barn://door")
    return "shut"


@server.tool()
def die() -> str:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@server.tool()
async def work(context: Context) -> str:
    """Work in two steps."""
    await context.log("warning", "the hay is damp", logger_name="barn")  # deprecated, and in use
    for step in (1, 2):
        await context.report_progress(step, 2, f"step {step}")
    return "done"


@server.tool()
async def linger(path: str) -> str:
    """Wait, and write down whether that was ended."""
    try:
        await anyio.sleep(30)
    except anyio.get_cancelled_exc_class():
        Path(path).write_text("ended")  # noqa: ASYNC240 - nothing may be awaited any more
        raise
    return "done"


@server.tool()
async def brand(cow: str, owner: Annotated[Owner, Resolve(ask_for_the_owner)]) -> str:
    """Write down whose a cow is."""
    return f"{cow} is {owner.name}'s, one of {owner.heads}"


server.run()
