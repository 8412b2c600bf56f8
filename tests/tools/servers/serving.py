"""Two tools of ours as an MCP server on standard streams; the policy refuses one of them."""

from __future__ import annotations

import anyio

from corral.policy import Gate, Policy, SecurityPolicy
from corral.tools import Toolbox, ToolServer, tool


@tool(effect="read")
def area(width: float, height: float) -> dict[str, float]:
    """The area of a field.

    Args:
        width: Metres.
    """
    return {"area": width * height}


@tool
def burn(field: str) -> str:
    """Set a field on fire."""
    return f"{field} burns"


async def main() -> None:
    gate = Gate(Policy(rules=[SecurityPolicy(resource="tool:local/area", actions=["call"])]))
    async with Toolbox(area, burn) as box:
        await ToolServer(box, gate).run_stdio()


anyio.run(main)
