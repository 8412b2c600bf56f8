"""`corral mcp`: MCP the other way, tools for any MCP client, through our gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from corral.apps.assembly import LOCK, make_toolbox, read_policy, read_settings, written_consent
from corral.apps.failures import explained

if TYPE_CHECKING:
    from corral.policy import Approver, Policy
    from corral.tools import Toolbox

__all__ = ["mcp"]


@click.group()
def mcp() -> None:
    """Serve tools to MCP clients, held by a policy."""


@mcp.command()
@click.option("--mcp-config", type=click.Path(path_type=Path), required=True, help="Whose tools are offered.")
@click.option("--policy", "policy_file", metavar="FILE|PRESET", help="Rules and limits, YAML or TOML.")
@click.option("--yes-to", multiple=True, metavar="RESOURCE", help="Agree to what asks, such as 'tool:files/*'.")
def serve(mcp_config: Path, policy_file: str | None, yes_to: tuple[str, ...]) -> None:
    """Offer the tools of an mcpServers file on standard streams; every call passes the gate and is audited.

    \b
    {"mcpServers": {"held": {"command": "corral",
                             "args": ["mcp", "serve", "--mcp-config", "inner.json", "--policy", "policy.yaml"]}}}
    """
    with explained():
        policy = read_policy(policy_file)
        approver = written_consent(yes_to)
        toolbox = make_toolbox(mcp_config, strict=True, pins=LOCK)
        anyio.run(_serve, toolbox, policy, approver)


async def _serve(toolbox: Toolbox, policy: Policy, approver: Approver | None) -> None:
    from corral.policy import ChainedAudit, Gate
    from corral.tools import ToolServer

    audit = ChainedAudit(read_settings().audit)
    try:
        async with toolbox:
            await ToolServer(toolbox, Gate(policy, approver=approver, audit=audit)).run_stdio()
    finally:
        audit.close()
