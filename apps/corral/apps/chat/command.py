"""The `corral chat` command: from flags to a chat that goes on."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import agent_options, consolidate_option, model_of, read_settings, setting
from corral.apps.failures import Exit, explained, fail

if TYPE_CHECKING:
    from corral.agents import ModelSpec
    from corral.apps.settings import Settings

__all__ = ["chat"]


@click.command()
@agent_options
@click.option("--memory/--no-memory", default=setting("memory", True), show_default="memory",
              help="Recall before, remember after each turn.")  # fmt: skip
@consolidate_option
@click.option("-c", "--continue", "go_on", is_flag=True, help="Go on with the last session.")
@click.option("-r", "--resume", "resumed", is_flag=False, flag_value="", metavar="[ID]",
              help="Go on with the session whose id starts so; without an id, choose one.")  # fmt: skip
@click.pass_context
def chat(ctx: click.Context, **options: Any) -> None:
    """Talk with an agent; what the policy asks about is asked here.

    Without a model it is still an MCP inspector (/tools, /call) and a sandbox shell (/code). Sessions are kept: -c goes
    on with the last one, and with a question in it that was not answered.

    \b
    corral chat --model openai/gpt-4o-mini --mcp-config mcp.json
    corral chat --mcp-config mcp.json
    corral chat -c --model openai/gpt-4o-mini
    """
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise fail("chat needs a terminal; for scripts there is `corral run`", Exit.BAD_INPUT)
    with explained(), ExitStack() as stack:
        settings = read_settings()
        model = model_of(settings, options)
        ctx.exit(anyio.run(_chat, settings, model, options, stack))


async def _chat(settings: Settings, model: ModelSpec | None, options: dict[str, Any], stack: ExitStack) -> Exit:
    from corral.apps.chat.opening import opened_chat

    async with opened_chat(settings, model, options, stack) as repl:
        await repl.run()
    return Exit.DONE
