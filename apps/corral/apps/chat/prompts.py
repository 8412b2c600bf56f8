"""Prompts of MCP servers as commands of the chat: `/server:prompt`."""

from __future__ import annotations

import json
import shlex
from typing import Any, cast

from corral.agents import quote
from corral.apps.chat.commands import Command
from corral.apps.chat.state import Chat
from corral.apps.terminal import printable
from corral.tools import Tool

__all__ = ["prompt_commands"]


async def prompt_commands(chat: Chat) -> list[Command]:
    """A command for each prompt that the open servers have."""
    return [_command(chat, tool) for tool in await chat.toolbox.prompts()]


def _command(chat: Chat, tool: Tool) -> Command:
    server, _, name = tool.resource.removeprefix("tool:").partition("/prompts/")
    properties: dict[str, Any] = tool.input_schema.get("properties", {})
    required: list[str] = tool.input_schema.get("required", [])
    usage = " ".join(name if name in required else f"[{name}]" for name in properties)
    first = next(iter(tool.description.strip().splitlines()), "a prompt of that server")

    async def run(rest: str) -> None:
        try:
            arguments = _arguments(rest, list(properties))
        except ValueError as error:
            chat.screen.warn(f"{error}; it takes {usage or 'nothing'}")
            return
        outcome = await chat.bench.use(tool, arguments)
        if outcome.is_error:
            chat.screen.warn(outcome.text)
            return
        chat.screen.say(outcome.text, "dim")
        if not chat.has_model:
            return
        quoted = quote(f"prompt {server}:{name}", outcome.text)
        await chat.begin(f"Do what this prompt of the server {server} says; I chose it.\n\n{quoted}")

    return Command(printable(f"/{server}:{name}".replace(" ", "-")), printable(usage), printable(first)[:60], run)


def _arguments(rest: str, names: list[str]) -> dict[str, Any]:
    """What was typed after the command: a JSON object, NAME=VALUE, or values in their order.

    Raises:
        ValueError: It is none of them.
    """
    if rest.startswith("{"):
        given: object = json.loads(rest)
        return cast("dict[str, Any]", given)
    arguments: dict[str, Any] = {}
    for word in shlex.split(rest):
        name, equals, value = word.partition("=")
        if equals and name in names:
            arguments[name] = value
        elif free := [name for name in names if name not in arguments]:
            arguments[free[0]] = word
        else:
            raise ValueError(f"there is no place for {word!r}")
    return arguments
