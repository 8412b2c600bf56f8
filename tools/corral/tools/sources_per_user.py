"""The token source of the call that goes on: everybody's, or that of the user on whose behalf it is made."""

from __future__ import annotations

from typing import Final

from corral.tools.calling import CURRENT
from corral.tools.errors import ToolConfigError
from corral.tools.oauth import TokenSource
from corral.tools.servers import PerUser

__all__ = ["Sources"]

_MAX_KEPT: Final = 256


class Sources:
    """Asks for each user's source once; the 256 used last are kept."""

    def __init__(self, auth: TokenSource | PerUser | None) -> None:
        self._auth = auth
        self._users: dict[str, TokenSource] = {}

    def of_call(self) -> TokenSource | None:
        """The source to sign with here and now.

        Raises:
            TokenError: The user has none.
        """
        if not isinstance(self._auth, PerUser):
            return self._auth
        call = CURRENT.get()
        user = self._auth.listing if call is None else call.user
        source = self._users.pop(user, None) or self._make(self._auth, user)
        self._users[user] = source  # the last used stands last
        while len(self._users) > _MAX_KEPT:
            del self._users[next(iter(self._users))]
        return source

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen: of everybody's source, or of each user's that is kept."""
        if not isinstance(self._auth, PerUser):
            return () if self._auth is None else self._auth.secrets()
        return tuple(secret for source in list(self._users.values()) for secret in source.secrets())

    def _make(self, auth: PerUser, user: str) -> TokenSource:
        source = auth.of(user)
        if not isinstance(source, TokenSource):
            raise ToolConfigError("auth", "a ServerLogin is for MCP servers; an API takes an OAuthClient or the like")
        return source
