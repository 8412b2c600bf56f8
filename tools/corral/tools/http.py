"""MCP over HTTP: a `Transport` for the SDK's `Client`, streamable or of the older HTTP+SSE kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from corral.tools.egress import guarded
from corral.tools.log_filter import logs_without
from corral.tools.long_strings import LongStrings
from corral.tools.oauth import TokenSource, bearer
from corral.tools.server_login import ServerLogin

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

    from corral.tools.exchange import Exchange
    from corral.tools.servers import HttpAuth

__all__ = ["MAX_MESSAGE_BYTES", "HttpTransport"]

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_SSE_TIME: Final = 30.0


class HttpTransport:
    """One server as a transport; entered once.

    Args:
        headers: As they are sent.
        secret_headers: The names of those whose values must not be seen.
        sse: The HTTP+SSE transport of 2024-11-05.
        max_message_bytes: Of one message from the server.
        allow_private: Its name may lead into this machine or network.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        auth: HttpAuth | None,
        *,
        secret_headers: Collection[str] = (),
        sse: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        allow_private: bool = False,
    ) -> None:
        self._url = url
        self._headers = dict(headers)
        self._secret_values = tuple(value for name, value in self._headers.items() if name in secret_headers)
        self._auth = auth
        self._flow: Any = None
        self._sse = sse
        self._max_message_bytes = max_message_bytes
        self._allow_private = allow_private
        self._stack = AsyncExitStack()
        self._exchange: Exchange | None = None
        self.long = LongStrings()

    async def __aenter__(self) -> TransportStreams:
        from mcp.client.streamable_http import streamable_http_client  # keeps start-up light

        async with AsyncExitStack() as stack:
            stack.enter_context(logs_without(self.secrets))
            if self._sse:
                streams = await stack.enter_async_context(self._open_sse())
            else:
                exchange = await stack.enter_async_context(self._make_exchange())
                opened = streamable_http_client(
                    self._url, http_client=exchange, max_sse_event_size=self._max_message_bytes
                )
                streams = await stack.enter_async_context(opened)
            self._stack = stack.pop_all()
            return streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def over(self) -> bool:
        """Nothing more can come over this connection, though a new one may work."""
        return self._exchange is not None and self._exchange.is_over

    @property
    def problem(self) -> str | None:
        """What was wrong with the last message, in a sentence without its subject."""
        return None if self._exchange is None else self._exchange.problem

    async def obituary(self) -> str:
        return "it ended the connection"

    async def last_words(self) -> tuple[str, ...]:
        return ()

    def secrets(self) -> tuple[str, ...]:
        holder = self._auth if isinstance(self._auth, TokenSource) else self._flow
        held: tuple[str, ...] = holder.secrets() if hasattr(holder, "secrets") else ()
        return (*held, *(value.removeprefix("Bearer ") for value in self._secret_values))

    def _make_exchange(self, headers: Any = None, timeout: Any = None, auth: Any = None) -> Exchange:
        # In the form of the SDK's factory of clients; what it would hand over is known here already.
        import httpx2  # keeps start-up light

        from corral.tools.exchange import Exchange

        self._exchange = Exchange(
            max_bytes=self._max_message_bytes,
            long=self.long,
            has_credentials=self._auth is not None or any(name.lower() == "authorization" for name in self._headers),
            sse=self._sse,
            headers=self._headers,
            auth=self._make_flow(),
            transport=guarded(httpx2, self._url, allow_private=self._allow_private),
        )
        return self._exchange

    def _make_flow(self) -> Any:
        auth = self._auth
        if isinstance(auth, ServerLogin):
            from corral.tools.login_flow import make_flow  # keeps start-up light

            self._flow = make_flow(auth, self._url, allow_private=self._allow_private)
        else:
            self._flow = bearer(auth) if isinstance(auth, TokenSource) else auth
        return self._flow

    def _open_sse(self) -> Any:
        from mcp.client.sse import sse_client  # keeps start-up light

        return sse_client(self._url, timeout=_SSE_TIME, httpx_client_factory=self._make_exchange)
