"""One live MCP client, held from beginning to end by a task of its own.

The SDK's `Client` must be left by the task that entered it; callers come from any task. The owner enters it, waits, and
leaves it; requests go straight to the client, which takes many at once.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from corral.tools.failure import root_cause
from corral.tools.loss import Lost, read_loss

if TYPE_CHECKING:
    import mcp_types
    from mcp.client._transport import TransportStreams
    from mcp.client.client import Client

__all__ = ["Connection", "ServerTransport"]

_MAX_PAGES: Final = 100


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
    """

    def __init__(self, transport: ServerTransport, mode: str) -> None:
        self._transport = transport
        self._mode = mode
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
            return await self._client.call_tool(name, arguments)
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

        async with Client(self._transport, mode=self._mode, cache=None) as client:
            self.tools = await _list_tools(client)
            scope.deadline = math.inf
            self._client = client
            self._ready.set()
            await self._leave.wait()


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
