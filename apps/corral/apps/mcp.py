"""`corral mcp`: MCP servers in a file, and MCP the other way, tools and agents for any MCP client, through our gate."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import LOCK, make_toolbox, read_policy, read_settings, written_consent
from corral.apps.failures import Exit, explained, fail
from corral.apps.mcpfile import add, check, list_servers
from corral.apps.missing import Missing, require_tools

if TYPE_CHECKING:
    from corral.policy import Approval, ApprovalRequest, Approver, Policy
    from corral.tools import Tool, Toolbox, ToolServer

__all__ = ["mcp"]


@click.group()
def mcp() -> None:
    """Name MCP servers, check them, and be one."""


for command in (add, list_servers, check):
    mcp.add_command(command)


@mcp.command()
@click.option("--mcp-config", type=click.Path(path_type=Path), help="Whose tools are offered.")
@click.option(
    "--agent", "agents", type=click.Path(path_type=Path), multiple=True, help="An agent file; each becomes a tool."
)
@click.option("--policy", "policy_file", metavar="FILE|PRESET", help="Rules and limits, YAML or TOML.")
@click.option("--yes-to", multiple=True, metavar="RESOURCE", help="Agree to what asks, such as 'tool:files/*'.")
@click.option("--http", "port", type=click.IntRange(0, 65535), help="Listen on this port of 127.0.0.1, path /mcp.")
def serve(
    mcp_config: Path | None,
    agents: tuple[Path, ...],
    policy_file: str | None,
    yes_to: tuple[str, ...],
    port: int | None,
) -> None:
    """Offer the tools of an mcpServers file, and agents, on standard streams or over HTTP.

    Every call passes the gate and is audited. What the policy asks about, the client's person is asked (elicitation);
    a client that can't ask is refused.

    \b
    {"mcpServers": {"held": {"command": "corral",
                             "args": ["mcp", "serve", "--mcp-config", "inner.json", "--policy", "policy.yaml"]}}}
    """
    if mcp_config is None and not agents:
        raise fail("there is nothing to serve; give --mcp-config or --agent", Exit.BAD_INPUT)
    with explained(), ExitStack() as stack:
        policy = read_policy(policy_file)
        approver = _FirstWhoAgrees(written_consent(yes_to))
        tools = [_agent_tool(path, approver, stack) for path in agents]
        toolbox = make_toolbox(mcp_config, strict=False, pins=LOCK, tools=tools)
        anyio.run(_serve, toolbox, policy, approver, port)


def _agent_tool(path: Path, approver: Approver, stack: ExitStack) -> Tool:
    """The agent of a file as a tool; its own policy holds what it does, and the client's person is asked."""
    from corral.agents import AgentFile, Journal, delegate
    from corral.policy import ChainedAudit
    from corral.tools import ClientSink

    settings = read_settings()
    journal = stack.enter_context(Journal(settings.journal))
    audit = ChainedAudit(settings.audit)
    stack.callback(audit.close)
    file = AgentFile.load(path)
    given: dict[str, Any] = {"approver": approver, "journal": journal, "audit": audit, "sinks": (ClientSink(),)}
    if file.model is None and settings.model is not None:
        from corral.agents import ModelSpec

        given["lm"] = ModelSpec.of(model=settings.model, api_base=settings.api_base, api_key=settings.api_key)
    return delegate(file.make(path.parent, **given))


class _FirstWhoAgrees:
    """Who agreed beforehand, and else the person in front of the client."""

    def __init__(self, beforehand: Approver | None) -> None:
        self._beforehand = beforehand

    async def decide(self, request: ApprovalRequest) -> Approval:
        from corral.tools import ClientPerson

        if self._beforehand is not None and not request.action.for_person:
            agreed = await self._beforehand.decide(request)
            if agreed.granted:
                return agreed
        return await ClientPerson().decide(request)


async def _serve(toolbox: Toolbox, policy: Policy, approver: Approver, port: int | None) -> None:
    from corral.policy import ChainedAudit, Gate
    from corral.tools import ToolServer

    audit = ChainedAudit(read_settings().audit)
    try:
        async with toolbox:
            Missing().tell(toolbox)
            require_tools(toolbox)
            server = ToolServer(toolbox, Gate(policy, approver=approver, audit=audit))
            if port is None:
                await server.run_stdio()
            else:
                await _listen(server, port)
    finally:
        audit.close()


async def _listen(server: ToolServer, port: int) -> None:
    import socket

    import uvicorn

    with socket.create_server(("127.0.0.1", port)) as listener:
        click.echo(f"corral: listening on http://127.0.0.1:{listener.getsockname()[1]}/mcp", err=True)
        config = uvicorn.Config(server.http_app(), log_level="error", ws="none", timeout_graceful_shutdown=2)
        await uvicorn.Server(config).serve([listener])
