"""Prompts of an MCP server: texts that a person chooses to begin with, each as a tool that models are not offered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from corral.policy import Label
from corral.tools.caller import Caller
from corral.tools.connection import Connection
from corral.tools.contents import show_content
from corral.tools.names import spell
from corral.tools.observation import Observation
from corral.tools.pages import all_pages
from corral.tools.tool import Effect, Tool

if TYPE_CHECKING:
    import mcp_types
    from mcp.client.client import Client

__all__ = ["COMPLETE", "completion_tool", "list_prompts", "prompt_tool"]

COMPLETE: Final = "complete"
_COMPLETE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "description": "The own name of a prompt."},
        "template": {"type": "string", "description": "Or a template of resources' addresses."},
        "argument": {"type": "string"},
        "value": {"type": "string", "description": "What was typed so far."},
        "given": {"type": "object", "additionalProperties": {"type": "string"}, "description": "The others."},
    },
    "required": ["argument", "value"],
    "oneOf": [{"required": ["prompt"]}, {"required": ["template"]}],
    "additionalProperties": False,
}


async def list_prompts(client: Client) -> tuple[mcp_types.Prompt, ...]:
    """All prompts of the server; none if it has none."""
    if client.server_capabilities.prompts is None:
        return ()
    pages = await all_pages(lambda cursor: client.list_prompts(cursor=cursor), "prompts")
    return tuple(prompt for page in pages for prompt in page.prompts)


def prompt_tool(server: str, caller: Caller, prompt: mcp_types.Prompt, timeout: float, *, trust: bool) -> Tool:
    """The prompt as a tool; what it gives is the text to begin with, and in `contents` the messages as they came."""
    resource = f"tool:{server}/prompts/{prompt.name}"
    label = Label.untrusted(resource)
    arguments = prompt.arguments or []
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: {"type": "string", "description": each.description or ""} for each in arguments},
        "required": [each.name for each in arguments if each.required],
        "additionalProperties": False,
    }
    return Tool(
        spell(server, prompt.name),
        resource,
        partial(_get, caller, label, prompt.name),
        description=prompt.description or "",
        input_schema=schema,
        title=prompt.title or "",
        icons=[icon.model_dump(mode="json", by_alias=True, exclude_none=True) for icon in prompt.icons or ()],
        effect=Effect.READ,
        read_only=trust,
        timeout=timeout,
        label=label,
    )


def completion_tool(server: str, caller: Caller, timeout: float, *, trust: bool) -> Tool:
    """What a person may mean who types an argument of a prompt or of a resource's address: a list of texts."""
    resource = f"tool:{server}/{COMPLETE}"
    label = Label.untrusted(resource)
    return Tool(
        spell(server, COMPLETE),
        resource,
        partial(_complete, caller, label),
        description="Ways to complete an argument that is being typed.",
        input_schema=_COMPLETE_SCHEMA,
        effect=Effect.READ,
        read_only=trust,
        timeout=timeout,
        label=label,
    )


async def _get(caller: Caller, label: Label, name: str, arguments: dict[str, Any]) -> Observation:
    async def ask(connection: Connection) -> Observation:
        result = await connection.request(lambda client: client.get_prompt(name, arguments or None))
        several = len({message.role for message in result.messages}) > 1
        texts = [
            f"{message.role}: {show_content(message.content)}" if several else show_content(message.content)
            for message in result.messages
        ]
        return Observation("\n\n".join(texts) or "(no output)", label=label, contents=tuple(result.messages))

    return await caller.perform(Effect.READ, label, ask)


async def _complete(caller: Caller, label: Label, arguments: dict[str, Any]) -> Observation:
    import mcp_types as types  # keeps start-up light

    ref: Any = (
        types.PromptReference(type="ref/prompt", name=arguments["prompt"])
        if "prompt" in arguments
        else types.ResourceTemplateReference(type="ref/resource", uri=arguments["template"])
    )
    argument = {"name": arguments["argument"], "value": arguments["value"]}

    async def ask(connection: Connection) -> Observation:
        result = await connection.request(lambda client: client.complete(ref, argument, arguments.get("given")))
        values = list(result.completion.values)
        return Observation("\n".join(values) or "(none)", [*values], label=label)

    return await caller.perform(Effect.READ, label, ask)
