"""The link to one server: a connection that is made again when it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from corral.tools.breaker import Breaker
from corral.tools.connect import connect
from corral.tools.connection import Connection
from corral.tools.errors import ToolSourceError
from corral.tools.handlers import Handlers
from corral.tools.servers import ServerConfig

__all__ = ["Link"]

_WAITS: Final = (0.2, 0.4, 0.8)
"""Seconds between tries to start or reach a server anew."""
_CRASHES: Final = 5


class Link:
    """Holds the one connection that is live; many calls may use it at once.

    Args:
        accept: Looks at a new connection before anybody may use it, and may raise.
        connect_timeout: Seconds for one try.
    """

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        environ: Mapping[str, str] | None,
        connect_timeout: float,
        accept: Callable[[Connection], None],
        handlers: Handlers | None = None,
    ) -> None:
        self._handlers = handlers
        self._name = name
        self._config = config
        self._environ = environ
        self._connect_timeout = connect_timeout
        self._accept = accept
        self._connection: Connection | None = None
        self._renewal: asyncio.Task[Connection] | None = None
        self._breaker = Breaker(threshold=2)
        self._crashes = Breaker(threshold=_CRASHES, pause=10.0)
        self._closed = False
        self.restarts = 0

    async def open(self) -> None:
        """Connect, once.

        Raises:
            ToolSourceError: There is no connection, and nothing is left running.
        """
        self._connection = await self._connect()

    async def close(self) -> None:
        """Leave the server; nothing of it is left running."""
        self._closed = True
        renewal, connection = self._renewal, self._connection
        self._renewal = self._connection = None
        with anyio.CancelScope(shield=True):
            if renewal is not None and not renewal.done():
                renewal.cancel()
                await asyncio.wait((renewal,))
            if connection is not None:
                await connection.close()

    @property
    def has_changed(self) -> bool:
        """The server said that its list of tools is another by now."""
        return self._connection is not None and self._connection.has_changed

    async def live(self) -> Connection:
        """The connection, made again if it was lost; those who wait share one renewal.

        Raises:
            ToolSourceError: It could not be made again, or has failed too often lately.
        """
        connection = self._connection
        if connection is not None and not connection.is_over:
            return connection
        if self._closed:
            raise ToolSourceError(self._name, "it was closed")
        if self._renewal is None or self._renewal.done():
            left = max(self._breaker.time_left, self._crashes.time_left)
            if left > 0:
                raise ToolSourceError(self._name, f"it has stopped too often and is left alone for {left:.0f} s more")
            self._renewal = asyncio.create_task(self._renew(), name=f"corral link {self._name}")
            self._renewal.add_done_callback(_look_at)
        # A caller who is cancelled leaves the renewal to the others.
        return await asyncio.shield(self._renewal)

    def worked(self) -> None:
        """A call was answered."""
        self._crashes.worked()

    async def _renew(self) -> Connection:
        lost, self._connection = self._connection, None
        if lost is not None:
            await lost.close()
        self._crashes.failed()
        for wait in (*_WAITS, None):
            try:
                connection = self._connection = await self._connect()
                self._breaker.worked()
                self.restarts += 1
                return connection
            except ToolSourceError:
                if wait is None:
                    self._breaker.failed()
                    raise
            await anyio.sleep(wait)
        raise AssertionError("unreachable")

    async def _connect(self) -> Connection:
        connection = await connect(self._name, self._config, self._environ, self._connect_timeout, self._handlers)
        try:
            self._accept(connection)
        except BaseException:
            await connection.close()
            raise
        return connection


def _look_at(task: asyncio.Task[Connection]) -> None:
    """Take the exception, so that asyncio does not report it again when all who waited were cancelled."""
    if not task.cancelled():
        task.exception()
