"""A chat put together: its agent, its screen, and the gates for what the person does by hand."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

from corral.agents import Agent, Journal, JournalError, ModelSpec
from corral.apps.assembly import (
    LOCK,
    choose_sandbox,
    make_agent,
    make_memory,
    model_of,
    read_policy,
    stored_logins,
    tell_progress,
    written_consent,
)
from corral.apps.bench import Bench
from corral.apps.chat.approvals import TerminalApprover
from corral.apps.chat.completion import ChatCompleter
from corral.apps.chat.conversation import Conversation, find_session, past_sessions
from corral.apps.chat.keyboard import Keyboard, LineKeyboard, PlainKeyboard
from corral.apps.chat.ledger import Ledger
from corral.apps.chat.mentions import TypedConsent
from corral.apps.chat.modes import ChatMode
from corral.apps.chat.paper import Paper
from corral.apps.chat.pictures import PictureStore, Shown
from corral.apps.chat.repl import Repl
from corral.apps.chat.screen import Screen
from corral.apps.chat.state import Chat
from corral.apps.failures import Exit, fail
from corral.apps.settings import Settings
from corral.policy import Audit, Budget, ChainedAudit, Gate, Mode, Policy
from corral.sandbox import AutoProvider, SandboxProvider
from corral.tools import Pins, Toolbox, load_mcp_config

__all__ = ["opened_chat"]


@asynccontextmanager
async def opened_chat(
    settings: Settings, model: ModelSpec | None, options: dict[str, Any], stack: ExitStack
) -> AsyncGenerator[Repl]:
    """A chat that is ready to be run; its tools and its sandbox close with it, files with `stack`.

    Args:
        options: Those of `agent_options`, and "go_on" and "resumed".
    """
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="replace")
    pictures = PictureStore(settings.home / "pictures")
    screen = Screen(Paper(), pictures.take)
    approver = TerminalApprover(screen, written_consent(options["yes_to"]), grants_file=str(settings.grants))
    config: Path | None = options["mcp_config"]
    servers = load_mcp_config(config, logins=stored_logins(settings, config)) if config is not None else []
    toolbox = Toolbox(*servers, pins=Pins.load(LOCK) if LOCK.exists() else None, artifacts=pictures, max_offered=30)
    policy = read_policy(options["policy_file"])
    memory = make_memory(settings, options["memory"], stack)
    audit = ChainedAudit(settings.audit)
    stack.callback(audit.close)
    async with AsyncExitStack() as opened:
        provider = await _provider(options)
        opened.push_async_callback(provider.close)
        sandbox = cast("SandboxProvider", Shown(provider, pictures))
        agent = make_agent(
            toolbox,
            settings,
            options,
            stack,
            model=model,
            policy=policy,
            sandbox=None if options["kind"] == "react" else sandbox,
            memory=memory,
            approver=approver,
        )
        await opened.enter_async_context(agent)
        bench = await opened.enter_async_context(
            Bench(toolbox, policy, approver, memory, audit=audit, grants=agent.grants, provider=sandbox)
        )
        ledger = Ledger()
        conversation = Conversation(agent, (screen, ledger))
        _take_up(conversation, options)
        mentions, shell = _gates(policy, approver, agent, audit)
        chat = Chat(
            conversation=conversation,
            approver=approver,
            screen=screen,
            bench=bench,
            policy=policy,
            toolbox=toolbox,
            servers=servers,
            memory=memory,
            ledger=ledger,
            mentions=mentions,
            shell=shell,
            model_named=lambda name: model_of(settings, {**options, "model": name}),
            policy_named=options["policy_file"] or "the built-in safe policy",
        )
        _take_mode(chat, Mode(options["mode"]))
        repl = Repl(chat, picks=options["resumed"] == "")
        screen.use(_keyboard(chat, repl, settings.home / "chat_history"))
        yield repl


async def _provider(options: dict[str, Any]) -> SandboxProvider:
    """Where code of the agent and of the person runs; chosen when it is needed, if it may not be needed at all."""
    if options["kind"] == "react" and options["sandbox"] == "auto":
        return AutoProvider(build=tell_progress)
    return await choose_sandbox(options["sandbox"], "codeact") or AutoProvider(build=tell_progress)


def _take_up(conversation: Conversation, options: dict[str, Any]) -> None:
    """The session that the flags name, if they name one."""
    journal = conversation.agent.journal
    if journal is None or not (options["go_on"] or options["resumed"]):
        return
    try:
        conversation.load(find_session(journal, options["resumed"]) if options["resumed"] else _newest(journal))
    except JournalError as error:
        raise fail(str(error), Exit.BAD_INPUT) from error


def _newest(journal: Journal) -> str:
    past = past_sessions(journal, 1)
    if not past:
        raise JournalError(f"there is no session to go on with in {journal.path}; `corral chat` begins one")
    return past[0].id


def _gates(policy: Policy, approver: TerminalApprover, agent: Agent, audit: Audit) -> tuple[Gate, Gate]:
    """The gate for mentions of files, and the one for shell commands, which asks nobody."""
    mentions = Gate(policy, Budget(), approver=TypedConsent(approver), audit=audit, grants=agent.grants)
    return mentions, Gate(policy, Budget(), audit=audit, mode=Mode.UNATTENDED)


def _take_mode(chat: Chat, mode: Mode) -> None:
    chat.base = Mode.ENFORCE if mode is Mode.PLAN else mode
    chat.take_mode(ChatMode.PLAN if mode is Mode.PLAN else ChatMode.ASK)


def _keyboard(chat: Chat, repl: Repl, history: Path) -> Keyboard:
    screen = chat.screen
    if screen.paper.is_plain:
        return PlainKeyboard()
    return LineKeyboard(
        repl,
        screen.above,
        chat.status,
        lambda: screen.paper.theme.toolbar,
        ChatCompleter(lambda: repl.commands),
        history,
    )
