"""Tools of a toolbox for other programs: an MCP server whose calls pass a gate."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from corral.policy import Action, BudgetExceeded, Denied, Gate
from corral.tools.calling import reporting
from corral.tools.errors import BadArguments
from corral.tools.observation import Observation
from corral.tools.served import SERVED, ServedCall, ServedReports
from corral.tools.tool import Tool
from corral.tools.toolbox import Toolbox

if TYPE_CHECKING:
    import mcp_types
    from mcp.server import Server
    from mcp.server.context import ServerRequestContext
    from starlette.applications import Starlette

__all__ = ["ToolServer"]

_QUESTION: Final = "question"
_INSTRUCTIONS: Final = "Each call is judged by a policy, and may be refused or wait for a person's approval."


class ToolServer:
    """Offers the tools of an open toolbox to MCP clients, on standard streams or over HTTP.

    Args:
        toolbox: Open, and closed by whoever opened it.
        gate: Judges each call; what it refuses is an error result that says so.
        name: What it calls itself.
        version: The same; Corral's own when None.
        principal: Who the clients are to the policy.
        patience: Seconds that a call waits for a client to come back with an answer.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        gate: Gate,
        *,
        name: str = "corral",
        version: str | None = None,
        principal: str = "agent:mcp",
        patience: float = 600.0,
    ) -> None:
        self._toolbox = toolbox
        self._gate = gate
        self._name = name
        self._version = metadata.version("corral") if version is None else version
        self._principal = principal
        self._patience = patience
        self._waiting: dict[str, _Waiting] = {}

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
                tool.verb,
                principal=self._principal,
                arguments=checked,
                read_only=tool.read_only,
                schema_hash=tool.schema_hash,
            )
            call = SERVED.get()
            reports = None if call is None else ServedReports(self._gate, call, action, tool.label)
            with reporting(reports):
                return await self._gate.perform(action, lambda admission: tool.call(checked, admission))
        except (BadArguments, Denied, BudgetExceeded) as error:
            return tool.failed(str(error))

    def _make(self) -> Server[Any]:
        import mcp_types as types  # keeps start-up light
        from mcp.server import Server

        async def list_tools(context: object, params: object) -> types.ListToolsResult:
            if self._toolbox.has_changed:
                await self._toolbox.refresh()
            return types.ListToolsResult(tools=list(_describe_all(self._toolbox.tools)))

        async def call_tool(
            context: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> types.CallToolResult | types.InputRequiredResult:
            return await self._serve(context, params)

        return Server(
            self._name,
            version=self._version,
            instructions=_INSTRUCTIONS,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )

    async def _serve(
        self, context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        import mcp_types as types

        arguments = params.arguments or {}
        answer: types.ElicitResult | None = None
        if params.request_state is None:

            async def work() -> types.CallToolResult:
                return _result(await self.call(params.name, arguments), self._toolbox.get(params.name))

            call = ServedCall(work)
        else:
            waiting = self._waiting.pop(params.request_state, None)
            if waiting is None or waiting.asked != (params.name, arguments):
                return _result(Observation("this call is over; make it again", is_error=True), None)
            waiting.end.cancel()
            call, given = waiting.call, (params.input_responses or {}).get(_QUESTION)
            answer = given if isinstance(given, types.ElicitResult) else types.ElicitResult(action="cancel")
        outcome = await call.round(context, answer)
        if isinstance(outcome, types.CallToolResult):
            return outcome
        state = secrets.token_urlsafe(32)
        self._waiting[state] = _Waiting(call, (params.name, arguments), self._give_up_later(state))
        return types.InputRequiredResult(
            input_requests={_QUESTION: types.ElicitRequest(params=outcome)}, request_state=state
        )

    def _give_up_later(self, state: str) -> asyncio.Task[None]:
        async def give_up() -> None:
            await asyncio.sleep(self._patience)
            waiting = self._waiting.pop(state, None)
            if waiting is not None:
                await waiting.call.cancel()

        return asyncio.create_task(give_up())


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that goes on when its client comes back with an answer."""

    call: ServedCall
    asked: tuple[str, dict[str, Any]]
    end: asyncio.Task[None]


def _describe_all(tools: Iterable[Tool]) -> Iterable[mcp_types.Tool]:
    import mcp_types as types

    for tool in tools:
        yield types.Tool(
            name=tool.name,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=tool.output_schema if _has_object(tool) else None,
            title=tool.title or None,
            icons=[types.Icon.model_validate(dict(icon)) for icon in tool.icons] or None,
            # Asked again by a client, an agent begins anew: it goes on where it was only within one run of ours.
            annotations=types.ToolAnnotations(
                read_only_hint=tool.read_only, idempotent_hint=tool.effect.repeatable and tool.verb == "call"
            ),
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
