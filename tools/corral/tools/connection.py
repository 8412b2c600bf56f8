"""One live MCP client, held from beginning to end by a task of its own.

The SDK's `Client` must be left by the task that entered it; callers come from any task. The owner enters it, waits, and
leaves it; requests go straight to the client, which takes many at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import anyio

from corral.tools.calling import CURRENT
from corral.tools.client_side import ClientSide
from corral.tools.failure import root_cause
from corral.tools.handlers import Elicitation, Handlers
from corral.tools.long_strings import LongStrings
from corral.tools.loss import Lost, read_loss
from corral.tools.pages import all_pages
from corral.tools.secrets import hide_anywhere

if TYPE_CHECKING:
    import mcp_types
    from mcp.client._transport import TransportStreams
    from mcp.client.client import Client
    from mcp.shared.exceptions import MCPError

__all__ = ["Connection", "ServerTransport"]

T = TypeVar("T")

_LOOK_TIME: Final = 5.0
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

    @property
    def long(self) -> LongStrings:
        """What is long in tools' results, which have names in their place."""
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
        self._side = ClientSide(name, handlers or Handlers(), self._note_change, self.secrets)
        self.has_changed = False
        """The server said that its list of tools is another by now."""
        self._ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._error: BaseException | None = None
        self._has_resources = False
        self.tools: tuple[mcp_types.Tool, ...] = ()

    async def open(self, timeout: float) -> None:
        """Connect and list the tools within `timeout` seconds; if that fails, nothing is left running.

        Raises:
            TimeoutError: The server was silent for too long.
            OSError: The process could not be started.
            Exception: Whatever else the SDK raises, taken out of its groups.
        """
        context = copy_context()
        context.run(CURRENT.set, None)  # it outlives the call, if any, for which it is made
        self._owner = asyncio.create_task(self._own(timeout), name="corral mcp connection", context=context)
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
        """As the SDK's `Client.call_tool`; what is long in its texts is in `long`.

        Raises:
            Lost: There was no answer.
        """
        report = self._side.report_on(name)
        return await self.request(lambda client: client.call_tool(name, arguments, progress_callback=report))

    async def request(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """What the server answers to `ask`, a part of the current call.

        Raises:
            Lost: There was no answer.
        """
        from mcp.shared.exceptions import MCPError  # keeps start-up light

        if self._client is None or self.is_over:
            raise Lost(f"had stopped ({await self.obituary()})", sent=False)
        try:
            with self._side.call():
                try:
                    return await ask(self._client)
                except MCPError as error:
                    if not await self._went_there(error):
                        raise
                    return await ask(self._client)
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

    async def _went_there(self, error: MCPError) -> bool:
        """Whether the person opened what a call needs first (MCP 2025-11-25); the server did nothing yet."""
        from mcp.shared.exceptions import UrlElicitationRequiredError  # keeps start-up light
        from pydantic import ValidationError

        try:
            asked = UrlElicitationRequiredError.from_error(error.error).elicitations
        except (ValueError, KeyError, TypeError, ValidationError):
            return False
        for each in asked:
            if await self._side.elicit(Elicitation(self._name, each.message, url=each.url)) is not True:
                return False
        return bool(asked)

    @contextmanager
    def hearing_of_resources(self, tell: Callable[[str], None]) -> Generator[None]:
        """`tell` is called with the URI of each resource of which the server says that it changed."""
        self._side.resource_listeners.append(tell)
        try:
            yield
        finally:
            self._side.resource_listeners.remove(tell)

    async def list_again(self, timeout: float) -> None:
        """Put the tools as they are listed now into `tools`.

        Raises:
            TimeoutError: The server was silent for too long.
            Exception: Whatever else the SDK raises.
        """
        client, self.has_changed = self.client, False
        with anyio.fail_after(timeout):
            self.tools = self._clean(await _list_tools(client))

    @property
    def has_resources(self) -> bool:
        """The server had resources, or templates of them, when it was asked first."""
        return self._has_resources

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
    def long(self) -> LongStrings:
        """As the transport's."""
        return self._transport.long

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

    def _clean(self, tools: tuple[mcp_types.Tool, ...]) -> tuple[mcp_types.Tool, ...]:
        """The tools as models may see them: some servers say in them what they were sent."""
        known = self.secrets()
        return tuple(hide_anywhere(tool, known) for tool in tools) if known else tools

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

        async with Client(self._transport, mode=self._mode, cache=None, **self._side.options()) as client:
            self.tools = self._clean(await _list_tools(client))
            self._has_resources = await _has_resources(client)
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


async def _list_tools(client: Client) -> tuple[mcp_types.Tool, ...]:
    if client.server_capabilities.tools is None:
        return ()
    pages = await all_pages(lambda cursor: client.list_tools(cursor=cursor), "tools")
    return tuple(tool for page in pages for tool in page.tools)


async def _has_resources(client: Client) -> bool:
    """Whether there are any; many servers say that they could have some."""
    from mcp.shared.exceptions import MCPError  # keeps start-up light
    from pydantic import ValidationError

    if client.server_capabilities.resources is None:
        return False
    with anyio.move_on_after(_LOOK_TIME), suppress(MCPError, ValidationError):
        listed = await client.list_resources()
        return bool(listed.resources) or bool((await client.list_resource_templates()).resource_templates)
    return False
