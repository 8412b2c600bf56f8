"""The command itself: opens what the story needs, and sees that nothing of it is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
import click

from corral.apps.failures import Exit, explained

__all__ = ["demo"]


@click.command()
@click.option("--without-policy", is_flag=True, help="Leave the policy file out, to see what it held back.")
@click.pass_context
def demo(ctx: click.Context, without_policy: bool) -> None:
    """Show the main job: agents with real tools and real code, held by a policy.

    The model's replies are scripted. The MCP server, the OAuth server and its API, the sandbox, the policy, the memory
    and the second process are real. It writes to a temporary folder only.
    """
    from corral.apps.demo.story import tell

    with explained(), tempfile.TemporaryDirectory(prefix="corral-demo-") as folder:
        anyio.run(tell, Path(folder), not without_policy)
    ctx.exit(Exit.DONE)
