"""A server for runs: it counts its calls in a file, and dies in the call that the file DIE names, once.

Its tools: `look` (read-only) and `feed` (every call counts). With a port as its argument it is served over HTTP.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("mortal")
FOLDER = Path(os.environ["FOLDER"])


def note(name: str) -> None:
    with (FOLDER / "calls").open("a", encoding="ascii") as file:
        file.write(f"{name}\n")
    order = FOLDER / "die"
    if order.exists() and order.read_text() == name:
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def look(animal: str) -> str:
    """How an animal is."""
    note("look")
    return f"{animal} is well, says {os.getpid()}"


@server.tool()
def feed(animal: str) -> str:
    """Give an animal its hay."""
    note("feed")
    return f"{animal} was fed by {os.getpid()}"


if len(sys.argv) > 1:
    sys.stdout.write(f"ready {sys.argv[1]}\n")
    sys.stdout.flush()
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
