"""One live MCP client, held from beginning to end by a task of its own.

The SDK's `Client` must be left by the task that entered it; callers come from any task. The owner enters it, waits, and
leaves it; requests go straight to the client, which takes many at once.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from corral.tools.failure import root_cause
from corral.tools.handlers import Handlers, Progress, client_options
from corral.tools.loss import Lost, read_loss

if TYPE_CHECKING:
    import mcp_types
    from mcp.client._transport import TransportStreams
    from mcp.client.client import Client
    from mcp.shared.dispatcher import ProgressFnT

__all__ = ["Connection", "ServerTransport"]

_MAX_PAGES: Final = 100
_FIRST_WAIT: Final = 1.0
_MAX_WAIT: Final = 60.0


class ServerTransport(Protocol):
    """The SDK's `Transport`, which also knows how its server is; entered once."""

    @property
    def over(self) -> bool:
        """The server closed its side before we closed ours, so that no answer will come any more."""
        ...

    async def obituary(self) -> str:
        """How the server ended, such as "exit status 1" or "signal 9"."""
        ...

    async def last_words(self) -> tuple[str, ...]:
        """The last lines that the server wrote for people."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """What is sent to the server and must not be seen in its results."""
        ...

    async def __aenter__(self) -> TransportStreams: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Connection:
    """A client that is connected and has listed its tools, or an exception of why not.

    Args:
        mode: The SDK's way to negotiate a protocol version: "auto" or "legacy".
        handlers: Called by the server named `name`.
    """

    def __init__(self, transport: ServerTransport, mode: str, name: str = "", handlers: Handlers | None = None) -> None:
        self._transport = transport
        self._mode = mode
        self._name = name
        self._handlers = handlers or Handlers()
        self.has_changed = False
        """The server said that its list of tools is another by now."""
        self._ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._error: BaseException | None = None
        self.tools: tuple[mcp_types.Tool, ...] = ()

    async def open(self, timeout: float) -> None:
        """Connect and list the tools within `timeout` seconds; if that fails, nothing is left running.

        Raises:
            TimeoutError: The server was silent for too long.
            OSError: The process could not be started.
            Exception: Whatever else the SDK raises, taken out of its groups.
        """
        self._owner = asyncio.create_task(self._own(timeout), name="corral mcp connection")
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            self._owner.cancel()
            await self.close()
            raise
        if self._error is not None:
            await self.close()
            raise self._error

    async def close(self) -> None:
        """Let the owner leave the client, and wait until its process is gone; bounded by the transport's own waits."""
        self._leave.set()
        if self._owner is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.wait((self._owner,))

    async def call(self, name: str, arguments: dict[str, object]) -> mcp_types.CallToolResult:
        """As the SDK's `Client.call_tool`.

        Raises:
            Lost: There was no answer.
        """
        from mcp.shared.exceptions import MCPError  # keeps start-up light

        if self._client is None or self.is_over:
            raise Lost(f"had stopped ({await self.obituary()})", sent=False)
        try:
            return await self._client.call_tool(name, arguments, progress_callback=self._report_on(name))
        except MCPError as error:
            loss = read_loss(error)
            if loss is not None:
                raise loss from None
            if not self.is_over:
                raise
        except Exception:
            if not self.is_over:
                raise
        raise Lost(f"stopped during the call ({await self.obituary()})", sent=True)

    async def list_again(self, timeout: float) -> None:
        """Put the tools as they are listed now into `tools`.

        Raises:
            TimeoutError: The server was silent for too long.
            Exception: Whatever else the SDK raises.
        """
        client, self.has_changed = self.client, False
        with anyio.fail_after(timeout):
            self.tools = await _list_tools(client)

    @property
    def client(self) -> Client:
        """The SDK's client, for what is not a tool.

        Raises:
            Lost: The server had stopped.
        """
        if self._client is None or self.is_over:
            raise Lost("had stopped", sent=False)
        return self._client

    @property
    def is_over(self) -> bool:
        """Whether the server stopped, or the connection was closed."""
        return self._transport.over or self._leave.is_set() or (self._owner is not None and self._owner.done())

    async def obituary(self) -> str:
        """As the transport's."""
        return await self._transport.obituary()

    async def last_words(self) -> tuple[str, ...]:
        """As the transport's."""
        return await self._transport.last_words()

    def secrets(self) -> tuple[str, ...]:
        """As the transport's."""
        return self._transport.secrets()

    async def _own(self, timeout: float) -> None:
        try:
            # One scope around the client's whole life, its deadline lifted once connected: a scope that ended inside
            # would cut across those that the client leaves open.
            with anyio.CancelScope(deadline=anyio.current_time() + timeout) as scope:
                await self._hold(scope)
            if scope.cancelled_caught:
                self._error = TimeoutError(f"no answer within {timeout:g} s")
        except Exception as error:  # noqa: BLE001 - whatever connecting raises, often in groups, is told by `open`
            self._error = root_cause(error)
        finally:
            self._client = None
            self._ready.set()

    async def _hold(self, scope: anyio.CancelScope) -> None:
        from mcp.client.client import Client  # keeps start-up light

        options = client_options(self._name, self._handlers, self._note_change)
        async with Client(self._transport, mode=self._mode, cache=None, **options) as client:
            self.tools = await _list_tools(client)
            scope.deadline = math.inf
            self._client = client
            self._ready.set()
            async with anyio.create_task_group() as group:
                group.start_soon(self._follow_changes, client)
                await self._leave.wait()
                group.cancel_scope.cancel()

    async def _follow_changes(self, client: Client) -> None:
        """Listen for changes of the list of tools, which servers of 2026-07-28 tell on a stream of its own."""
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost  # keeps start-up light
        from mcp.shared.exceptions import MCPError

        tools = client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        wait = _FIRST_WAIT
        with suppress(ListenNotSupportedError, MCPError):
            while not self.is_over:
                with suppress(SubscriptionLost):
                    async with client.listen(tools_list_changed=True) as changes:
                        wait = _FIRST_WAIT
                        async for _ in changes:
                            self._note_change()
                await anyio.sleep(wait)
                wait = min(wait * 2, _MAX_WAIT)

    def _note_change(self) -> None:
        self.has_changed = True

    def _report_on(self, tool: str) -> ProgressFnT | None:
        tell = self._handlers.progress
        if tell is None:
            return None

        async def report(progress: float, total: float | None, message: str | None) -> None:
            tell(Progress(self._name, tool, progress, total, message or ""))

        return report


async def _list_tools(client: Client) -> tuple[mcp_types.Tool, ...]:
    tools: list[mcp_types.Tool] = []
    if client.server_capabilities.tools is None:
        return ()
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tuple(tools)
    raise ValueError(f"its list of tools does not end after {_MAX_PAGES} pages")
