"""Resources of an MCP server as two tools: one lists them, one reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from corral.policy import Label
from corral.tools.caller import Caller
from corral.tools.connection import Connection
from corral.tools.contents import show_resource
from corral.tools.names import spell
from corral.tools.observation import Json, Observation
from corral.tools.pages import all_pages
from corral.tools.tool import Effect, Tool

if TYPE_CHECKING:
    from mcp.client.client import Client

__all__ = ["LIST", "READ", "resource_tools"]

LIST: Final = "list_resources"
READ: Final = "read_resource"
_READ_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "uri": {"type": "string", "description": "As it is listed, or a listed template that is filled in."}
    },
    "required": ["uri"],
    "additionalProperties": False,
}


def resource_tools(server: str, caller: Caller, timeout: float, *, trust: bool) -> dict[str, Tool]:
    """The tools by their own names.

    Args:
        trust: Reading is taken for what it says it is, by a user who trusts the server.
    """

    def make(name: str, run: Any, description: str, schema: dict[str, Any] | None = None) -> Tool:
        resource = f"tool:{server}/{name}"
        label = Label.untrusted(resource)
        return Tool(
            spell(server, name),
            resource,
            partial(run, caller, label),
            description=description,
            input_schema=schema or {"type": "object", "additionalProperties": False},
            effect=Effect.READ,
            read_only=trust,
            timeout=timeout,
            label=label,
        )

    return {
        LIST: make(LIST, _list, f"The documents and data that {server} can give, and templates of their addresses."),
        READ: make(READ, _read, f"Read one of the resources of {server}.", _READ_SCHEMA),
    }


async def _list(caller: Caller, label: Label, arguments: dict[str, Any]) -> Observation:
    async def ask(connection: Connection) -> Observation:
        return await connection.request(lambda client: _listing(client, label))

    return await caller.perform(Effect.READ, label, ask)


async def _read(caller: Caller, label: Label, arguments: dict[str, Any]) -> Observation:
    async def ask(connection: Connection) -> Observation:
        result = await connection.request(lambda client: client.read_resource(arguments["uri"], cache_mode="bypass"))
        text = "\n".join(show_resource(content) for content in result.contents)
        return Observation(text or "(no output)", label=label, contents=tuple(result.contents))

    return await caller.perform(Effect.READ, label, ask)


async def _listing(client: Client, label: Label) -> Observation:
    pages = await all_pages(lambda cursor: client.list_resources(cursor=cursor), "resources")
    more = await all_pages(lambda cursor: client.list_resource_templates(cursor=cursor), "resource templates")
    resources = [_plain(each) for page in pages for each in page.resources]
    templates = [_plain(each) for page in more for each in page.resource_templates]
    lines = [_line(each) for each in (*resources, *templates)]
    found: Json = {"resources": [*resources], "templates": [*templates]}
    return Observation("\n".join(lines) or "(there are none)", found, label=label)


def _plain(listed: BaseModel) -> dict[str, Any]:
    return listed.model_dump(mode="json", by_alias=True, exclude_none=True)


def _line(listed: dict[str, Any]) -> str:
    said = [" ".join(str(listed[key]).split()) for key in ("title", "name", "description") if listed.get(key)]
    kind = f" ({listed['mimeType']})" if listed.get("mimeType") else ""
    about = ": ".join(dict.fromkeys((*said[:1], *said[-1:])))
    return f"{listed.get('uri') or listed.get('uriTemplate')}  {about}{kind}"
