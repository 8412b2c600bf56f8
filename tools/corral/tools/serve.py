"""Tools of a toolbox for other programs: an MCP server whose calls pass a gate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from corral.policy import Action, BudgetExceeded, Denied, Gate
from corral.tools.errors import BadArguments
from corral.tools.observation import Observation
from corral.tools.tool import Tool
from corral.tools.toolbox import Toolbox

if TYPE_CHECKING:
    import mcp_types
    from mcp.server import Server
    from starlette.applications import Starlette

__all__ = ["ToolServer"]

_INSTRUCTIONS: Final = "Each call is judged by a policy, and may be refused or wait for a person's approval."


class ToolServer:
    """Offers the tools of an open toolbox to MCP clients, on standard streams or over HTTP.

    Args:
        toolbox: Open, and closed by whoever opened it.
        gate: Judges each call; what it refuses is an error result that says so.
        principal: Who the clients are to the policy.
    """

    def __init__(self, toolbox: Toolbox, gate: Gate, *, name: str = "corral", principal: str = "agent:mcp") -> None:
        self._toolbox = toolbox
        self._gate = gate
        self._name = name
        self._principal = principal

    async def run_stdio(self) -> None:
        """Serve on this process's standard streams until the input ends; nothing else may write to the output."""
        from mcp.server.stdio import stdio_server  # keeps start-up light

        server = self._make()
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    def http_app(self, *, path: str = "/mcp") -> Starlette:
        """An ASGI application of streamable HTTP, for a server such as uvicorn that listens on loopback.

        Requests that name another host than loopback are refused (DNS rebinding); there is no other authentication.
        """
        return self._make().streamable_http_app(streamable_http_path=path)

    async def call(self, name: str, arguments: Any) -> Observation:
        """What the tool returned, or why it did not; never an exception of the tool or of the gate."""
        tool = self._toolbox.get(name)
        if tool is None:
            near = ", ".join(self._toolbox.suggest(name))
            return Observation(f"there is no tool {name!r}{f'; did you mean {near}?' if near else ''}", is_error=True)
        try:
            checked = tool.check(arguments)
            action = Action(
                tool.resource,
                "call",
                principal=self._principal,
                arguments=checked,
                read_only=tool.read_only,
                schema_hash=tool.schema_hash,
            )
            return await self._gate.perform(action, lambda admission: tool.call(checked, admission))
        except (BadArguments, Denied, BudgetExceeded) as error:
            return tool.failed(str(error))

    def _make(self) -> Server[Any]:
        import mcp_types as types  # keeps start-up light
        from mcp.server import Server

        async def list_tools(context: object, params: object) -> types.ListToolsResult:
            return types.ListToolsResult(tools=list(_describe_all(self._toolbox.tools)))

        async def call_tool(context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
            return _result(await self.call(params.name, params.arguments or {}), self._toolbox.get(params.name))

        return Server(self._name, instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool)


def _describe_all(tools: Iterable[Tool]) -> Iterable[mcp_types.Tool]:
    import mcp_types as types

    for tool in tools:
        yield types.Tool(
            name=tool.name,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=tool.output_schema if _has_object(tool) else None,
            annotations=types.ToolAnnotations(read_only_hint=tool.read_only, idempotent_hint=tool.effect.repeatable),
        )


def _result(observation: Observation, tool: Tool | None) -> mcp_types.CallToolResult:
    import mcp_types as types

    blocks = [each for each in observation.contents if isinstance(each, _kinds_of_content())]
    structured = observation.structured
    return types.CallToolResult(
        content=blocks or [types.TextContent(type="text", text=observation.text)],
        structured_content=structured if isinstance(structured, dict) and tool and _has_object(tool) else None,
        is_error=observation.is_error,
    )


def _has_object(tool: Tool) -> bool:
    """MCP takes output schemas of objects only (specification of 2025-06-18, Tool.outputSchema)."""
    return tool.output_schema is not None and tool.output_schema.get("type") == "object"


def _kinds_of_content() -> tuple[type, ...]:
    import mcp_types as types

    return (types.TextContent, types.ImageContent, types.AudioContent, types.ResourceLink, types.EmbeddedResource)
