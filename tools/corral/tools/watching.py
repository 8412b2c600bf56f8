"""Changes of a server's resources, as it tells of them, over whatever connection to it is live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from corral.tools.connection import Connection
from corral.tools.errors import ToolSourceError
from corral.tools.failure import explain
from corral.tools.link import Link
from corral.tools.loss import Lost

__all__ = ["watching"]

_MAX_UNHEARD: Final = 1024
_FIRST_WAIT: Final = 1.0
_MAX_WAIT: Final = 60.0
_LOOK: Final = 0.5
"""Seconds until it is seen that a connection of an older protocol is over: nothing tells."""


@asynccontextmanager
async def watching(server: str, link: Link, uris: Sequence[str], timeout: float) -> AsyncGenerator[AsyncIterator[str]]:
    """The URIs that change; after a connection was lost and made again, all of them.

    Args:
        timeout: Seconds until the server must have agreed.

    Raises:
        ToolSourceError: It does not tell of changes, or can't be reached.
    """
    watch = _Watch(server, link, tuple(uris))
    task = asyncio.create_task(watch.run(), name=f"corral mcp watch {server}")
    try:
        with anyio.move_on_after(timeout):
            await watch.agreed(task)
        if not watch.began.is_set():
            raise watch.problem or ToolSourceError(server, f"it did not agree within {timeout:g} s")
        yield watch.heard()
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait((task,))


class _Watch:
    def __init__(self, server: str, link: Link, uris: tuple[str, ...]) -> None:
        self._server = server
        self._link = link
        self._uris = uris
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()
        self.began = asyncio.Event()
        self.problem: ToolSourceError | None = None

    async def agreed(self, task: asyncio.Task[None]) -> None:
        began = asyncio.create_task(self.began.wait())
        try:
            await asyncio.wait((began, task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            began.cancel()

    async def heard(self) -> AsyncIterator[str]:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._changed:
                uri = next(iter(self._changed))
                del self._changed[uri]
                yield uri

    async def run(self) -> None:
        wait = _FIRST_WAIT
        while True:
            try:
                await self._follow(await self._link.live())
                wait = _FIRST_WAIT
            except ToolSourceError as error:
                self.problem = error
            except (Lost, TimeoutError):
                pass
            except Exception as error:  # noqa: BLE001 - the SDK raises many kinds; each is a server that does not tell
                self.problem = ToolSourceError(self._server, f"it does not tell of changes: {explain(error, {})}")
            if not self.began.is_set():
                return
            await anyio.sleep(wait)
            wait = min(2 * wait, _MAX_WAIT)

    async def _follow(self, connection: Connection) -> None:
        """Until the connection, or what it tells, is over."""
        from mcp.client.subscriptions import ListenNotSupportedError, ResourceUpdated, SubscriptionLost

        resources = connection.client.server_capabilities.resources
        if resources is None or not resources.subscribe:
            raise ToolSourceError(self._server, "it does not tell of changes of its resources")
        try:
            with suppress(SubscriptionLost):
                async with connection.client.listen(resource_subscriptions=self._uris) as changes:
                    self._begin()
                    async for change in changes:
                        if isinstance(change, ResourceUpdated):
                            self._tell(str(change.uri))
        except ListenNotSupportedError:
            await self._follow_in_the_older_way(connection)

    async def _follow_in_the_older_way(self, connection: Connection) -> None:
        import mcp_types as types  # keeps start-up light

        with connection.hearing_of_resources(self._tell):
            for uri in self._uris:
                request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
                await connection.client.session.send_request(request, types.EmptyResult)
            self._begin()
            while not connection.is_over:  # noqa: ASYNC110
                await anyio.sleep(_LOOK)

    def _begin(self) -> None:
        if self.began.is_set():
            for uri in self._uris:
                self._tell(uri)
        self.began.set()

    def _tell(self, uri: str) -> None:
        if len(self._changed) < _MAX_UNHEARD:
            self._changed[uri] = None
        self._news.set()
