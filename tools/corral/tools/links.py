"""The links to one server: one for all, or one for each user whose credential is another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import anyio

from corral.tools.calling import CURRENT
from corral.tools.connection import Connection
from corral.tools.handlers import Handlers
from corral.tools.link import Link
from corral.tools.oauth import TokenSource
from corral.tools.server_login import ServerLogin
from corral.tools.servers import HttpServer, PerUser, ServerConfig

__all__ = ["Links"]

_MAX_IDLE: Final = 32


@dataclass(eq=False, slots=True)
class _UsersLink:
    link: Link
    uses: int = 0


class Links:
    """Opens the first link at once and those of users when they first call; at most 32 that nobody uses stay open.

    Args:
        accept: Looks at each new connection: with the user's name, or "" for the one that lists the tools.
    """

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        environ: Mapping[str, str] | None,
        connect_timeout: float,
        accept: Callable[[str, Connection], None],
        handlers: Handlers | None,
    ) -> None:
        self._name = name
        self._config = config
        self._environ = environ
        self._connect_timeout = connect_timeout
        self._accept = accept
        self._handlers = handlers
        self._users: dict[str, _UsersLink] = {}
        auth = config.auth if isinstance(config, HttpServer) else None
        self._per_user = auth if isinstance(auth, PerUser) else None
        self.first = self._make("", None if self._per_user is None else self._per_user.of(self._per_user.listing))

    async def close(self) -> None:
        users, self._users = self._users, {}
        async with anyio.create_task_group() as group:
            for each in (self.first, *(one.link for one in users.values())):
                group.start_soon(each.close)

    @contextmanager
    def for_call(self) -> Generator[tuple[str, Link]]:
        """The link of the current call, and whose it is ("": everybody's)."""
        if self._per_user is None:
            yield "", self.first
            return
        call = CURRENT.get()
        user = self._per_user.listing if call is None else call.user
        kept = self._users.pop(user, None) or _UsersLink(self._make(user, self._per_user.of(user)))
        self._users[user] = kept  # the last used stands last
        kept.uses += 1
        try:
            yield user, kept.link
        finally:
            kept.uses -= 1

    async def close_idle(self) -> None:
        """Close what is too many."""
        idle = [user for user, one in self._users.items() if not one.uses]
        for user in idle[: max(0, len(idle) - _MAX_IDLE)]:
            await self._users.pop(user).link.close()

    def _make(self, user: str, auth: TokenSource | ServerLogin | None) -> Link:
        config = self._config
        if isinstance(config, HttpServer) and auth is not None:
            config = replace(config, auth=auth)
        return Link(
            self._name,
            config,
            self._environ,
            self._connect_timeout,
            lambda connection: self._accept(user, connection),
            self._handlers,
        )
