"""`corral chat`: a conversation with an agent, and a bench for its tools and its sandbox without one."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import (
    LOCK,
    agent_options,
    choose_sandbox,
    make_agent,
    make_memory,
    make_toolbox,
    model_of,
    read_policy,
    read_settings,
    setting,
    written_consent,
)
from corral.apps.failures import Exit, explained, fail

if TYPE_CHECKING:
    from corral.agents import ModelSpec
    from corral.apps.settings import Settings

__all__ = ["chat"]


@click.command()
@agent_options
@click.option(
    "--memory/--no-memory",
    default=setting("memory", True),
    show_default="memory",
    help="Recall before, remember after each turn.",
)
@click.pass_context
def chat(ctx: click.Context, **options: Any) -> None:
    """Talk with an agent; what the policy asks about is asked here.

    Without a model it is still an MCP inspector (/tools, /call) and a sandbox shell (/code).

    \b
    corral chat --model openai/gpt-4o-mini --mcp-config mcp.json
    corral chat --mcp-config mcp.json
    """
    if not sys.stdin.isatty():
        raise fail("chat needs a terminal; for scripts there is `corral run`", Exit.BAD_INPUT)
    with explained(), ExitStack() as stack:
        settings = read_settings()
        model = model_of(settings, options)
        ctx.exit(anyio.run(_chat, settings, model, options, stack))


async def _chat(settings: Settings, model: ModelSpec | None, options: dict[str, Any], stack: ExitStack) -> Exit:
    from corral.apps.bench import Bench
    from corral.apps.repl import Repl
    from corral.apps.screen import Screen, TerminalApprover

    screen = Screen()
    approver = TerminalApprover(screen, written_consent(options["yes_to"]))
    policy = read_policy(options["policy_file"])
    toolbox = make_toolbox(options["mcp_config"], strict=False, pins=LOCK)
    memory = make_memory(settings, options["memory"], stack)
    async with AsyncExitStack() as opened:
        sandbox = await choose_sandbox(options["sandbox"], options["kind"])
        if sandbox is not None:
            opened.push_async_callback(sandbox.close)
        agent = make_agent(
            toolbox,
            settings,
            options,
            stack,
            model=model,
            policy=policy,
            sandbox=sandbox,
            memory=memory,
            approver=approver,
        )
        await opened.enter_async_context(agent)
        for name, problem in toolbox.failures.items():
            screen.warn(f"{name}: {problem}")
        bench = await opened.enter_async_context(Bench(toolbox, policy, approver, memory))
        await Repl(agent, bench, screen, has_model=model is not None).run()
    return Exit.DONE
