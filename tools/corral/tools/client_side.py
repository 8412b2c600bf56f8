"""The client's side of MCP: what servers tell and ask in the middle of calls goes to whoever made the call."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corral.tools.calling import CURRENT, CurrentCall, Reports
from corral.tools.handlers import Elicitation, Handlers, LogEntry, Progress
from corral.tools.secrets import hide_anywhere, hide_in_text
from corral.tools.skills import EXTENSION

if TYPE_CHECKING:
    import mcp_types
    from mcp.client.session import ClientRequestContext
    from mcp.shared.dispatcher import ProgressFnT

__all__ = ["ClientSide"]


class ClientSide:
    """What one connection answers its server.

    An older protocol does not say to which call a question belongs. It is asked of whoever made the calls that go on;
    if these are several, nobody can tell whose it is, and it is not answered.

    Args:
        changed: Called when the server says that its list of tools is another.
        secrets: What the server was sent, and nobody may hear from it.
    """

    def __init__(
        self,
        server: str,
        handlers: Handlers,
        changed: Callable[[], None],
        secrets: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._server = server
        self._secrets = secrets
        self._handlers = handlers
        self._changed = changed
        self._calls: list[CurrentCall] = []
        self.resource_listeners: list[Callable[[str], None]] = []
        """Called with the URI of a resource that changed."""

    @contextmanager
    def call(self) -> Generator[None]:
        """The current call is on its way to this server."""
        call = CURRENT.get()
        if call is None:
            yield
            return
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def options(self) -> dict[str, Any]:
        """Arguments of the SDK's `Client`."""
        from mcp.client.extension import advertise  # keeps start-up light

        options: dict[str, Any] = {
            "message_handler": self._hear,
            "extensions": [advertise(EXTENSION, {})],
            "elicitation_callback": self._answer,
            "logging_callback": self._hear_log,
            "log_level": "info",
        }
        if self._handlers.roots:
            options["list_roots_callback"] = self._list_roots
        return options

    def report_on(self, tool: str) -> ProgressFnT | None:
        """Who is told how the current call goes on."""
        call = CURRENT.get()
        tell, reports = self._handlers.progress, call and call.reports
        if tell is None and reports is None:
            return None

        async def report(progress: float, total: float | None, message: str | None) -> None:
            told = Progress(self._server, tool, progress, total, hide_in_text(message or "", self._secrets()))
            if tell is not None:
                tell(told)
            if reports is not None:
                reports.progress(told)

        return report

    async def elicit(self, asked: Elicitation) -> dict[str, Any] | bool | None:
        """What the person says."""
        known = self._secrets()
        message, url = hide_in_text(asked.message, known), hide_in_text(asked.url or "", known)
        asked = replace(asked, message=message, schema=hide_anywhere(asked.schema, known), url=url or None)
        calls = self._asking()
        with ExitStack() as stack:
            for call in calls:
                stack.enter_context(call.waiting_for_a_person())
            if self._handlers.elicit is not None:
                return await self._handlers.elicit(asked)
            reports = self._one_of(calls)
            return None if reports is None else await reports.elicit(asked)

    def _asking(self) -> list[CurrentCall]:
        call = CURRENT.get()
        return [call] if call in self._calls else list(self._calls)

    def _one_of(self, calls: list[CurrentCall]) -> Reports | None:
        found = [call.reports for call in calls]
        return found[0] if found and all(each is found[0] for each in found) else None

    async def _hear(self, message: object) -> None:
        import mcp_types as types  # keeps start-up light

        if isinstance(message, types.ToolListChangedNotification):
            self._changed()
        elif isinstance(message, types.ResourceUpdatedNotification):
            for tell in tuple(self.resource_listeners):
                tell(str(message.params.uri))

    async def _hear_log(self, params: mcp_types.LoggingMessageNotificationParams) -> None:
        entry = LogEntry(
            self._server, str(params.level), hide_in_text(_as_line(params.data), self._secrets()), params.logger or ""
        )
        if self._handlers.log is not None:
            self._handlers.log(entry.level, entry.text)
        reports = self._one_of(self._asking())
        if reports is not None:
            reports.log(entry)

    async def _answer(
        self, context: ClientRequestContext, params: mcp_types.ElicitRequestParams
    ) -> mcp_types.ElicitResult:
        import mcp_types as types

        if isinstance(params, types.ElicitRequestURLParams):
            asked = Elicitation(self._server, params.message, url=params.url)
        else:
            asked = Elicitation(self._server, params.message, dict(params.requested_schema))
        given = await self.elicit(asked)
        if given is None:
            return types.ElicitResult(action="cancel")
        if given is False:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content=None if isinstance(given, bool) else given)

    async def _list_roots(self, context: Any) -> mcp_types.ListRootsResult:
        import mcp_types as types

        uris = self._handlers.roots
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": uri}) for uri in uris])


def _as_line(data: Any) -> str:
    return " ".join((data if isinstance(data, str) else str(data)).split())
