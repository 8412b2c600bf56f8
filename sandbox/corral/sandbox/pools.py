"""A pool for each event loop that sessions are opened in: the way to a container belongs to the loop that made it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from corral.sandbox.container import Container
from corral.sandbox.errors import SandboxUnavailable
from corral.sandbox.pool import Pool, Sizes
from corral.sandbox.sandbox import Limits

__all__ = ["Pools"]


class Pools:
    """Pools by event loop, so that one provider serves one `asyncio.run` after another, and the sync door beside them.

    What a loop that was closed has left is ended when the next one asks.

    Args:
        start: Starts a container with limits and a label.
    """

    def __init__(self, start: Callable[[Limits, str], Awaitable[Container]], sizes: Sizes) -> None:
        self._start = start
        self._sizes = sizes
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._closed = False

    async def here(self) -> Pool:
        """The pool of the running loop.

        Raises:
            SandboxUnavailable: They were closed.
        """
        if self._closed:
            raise SandboxUnavailable("the provider is closed")
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = Pool(self._start, self._sizes)
            for left in [other for other in self._pools if other.is_closed()]:
                await self._pools.pop(left).close()
        return pool

    async def close(self) -> None:
        """Close all, each in its own loop as long as that runs."""
        self._closed = True
        here = asyncio.get_running_loop()
        pools, self._pools = self._pools, {}
        for loop, pool in pools.items():
            if loop is here or not loop.is_running():
                await pool.close()
            else:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pool.close(), loop))
