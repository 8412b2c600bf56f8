"""What an MCP server may ask of its user and tell about its work, as callbacks of whoever holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from corral.tools.skills import EXTENSION

if TYPE_CHECKING:
    import mcp_types
    from mcp.client.session import ClientRequestContext

__all__ = ["Elicitation", "Handlers", "Progress", "client_options"]


@dataclass(frozen=True, slots=True)
class Elicitation:
    """A question of a server to the person in front of the program, in the middle of a call.

    Attributes:
        message: What the server says; untrusted text.
        schema: JSON Schema of a flat object to be filled in; None if the person is sent to a URL instead.
        url: Where the person is to go; untrusted, to be shown whole and opened only with consent.
    """

    server: str
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come, as its server tells it; `total` is None if it does not know."""

    server: str
    tool: str
    done: float
    total: float | None
    message: str


class Elicit(Protocol):
    """Answers an elicitation."""

    async def __call__(self, elicitation: Elicitation, /) -> dict[str, Any] | bool | None:
        """What was filled in, or True for a URL that was opened; False is a refusal, None no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Handlers:
    """Callbacks of one server; what is None is not offered to it.

    Attributes:
        elicit: Asks the person. Its time counts as the call's.
        progress: Told how a call goes on.
        log: Told the level and the text of what the server logs.
        roots: Folders that the server is told of, as file URIs.
    """

    elicit: Elicit | None = None
    progress: Callable[[Progress], None] | None = None
    log: Callable[[str, str], None] | None = None
    roots: tuple[str, ...] = field(default=())


def client_options(server: str, handlers: Handlers, changed: Callable[[], None]) -> dict[str, Any]:
    """The arguments of the SDK's `Client` for these handlers.

    Args:
        changed: Called when the server says that its list of tools is another.
    """
    import mcp_types as types  # keeps start-up light
    from mcp.client.extension import advertise

    async def hear(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed()

    options: dict[str, Any] = {"message_handler": hear, "extensions": [advertise(EXTENSION, {})]}
    if handlers.elicit is not None:
        options["elicitation_callback"] = _elicit_with(server, handlers.elicit)
    if handlers.log is not None:
        options |= {"logging_callback": _log_with(handlers.log), "log_level": "info"}
    if handlers.roots:
        options["list_roots_callback"] = _list_roots_of(handlers.roots)
    return options


def _elicit_with(
    server: str, elicit: Elicit
) -> Callable[[ClientRequestContext, mcp_types.ElicitRequestParams], Awaitable[mcp_types.ElicitResult]]:
    import mcp_types as types

    async def answer(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        if isinstance(params, types.ElicitRequestURLParams):
            asked = Elicitation(server, params.message, url=params.url)
        else:
            asked = Elicitation(server, params.message, dict(params.requested_schema))
        given = await elicit(asked)
        if given is None:
            return types.ElicitResult(action="cancel")
        if given is False:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content=None if isinstance(given, bool) else given)

    return answer


def _log_with(
    log: Callable[[str, str], None],
) -> Callable[[mcp_types.LoggingMessageNotificationParams], Awaitable[None]]:
    async def hear(params: mcp_types.LoggingMessageNotificationParams) -> None:
        log(str(params.level), str(params.data))

    return hear


def _list_roots_of(uris: tuple[str, ...]) -> Callable[[Any], Awaitable[mcp_types.ListRootsResult]]:
    import mcp_types as types

    async def list_roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": uri}) for uri in uris])

    return list_roots
