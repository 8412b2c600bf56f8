"""Requests signed with a token source; imported late, as httpx and httpx2 are heavy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

import httpx
import httpx2

from corral.tools.address import is_private_way, show_url
from corral.tools.errors import TokenError
from corral.tools.oauth import TokenSource

__all__ = ["Bearer"]

_UNAUTHORIZED: Final = 401


class Bearer(httpx.Auth, httpx2.Auth):
    """See `corral.tools.oauth.bearer`. An async `Auth` of both libraries, whose protocols are the same."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        if not is_private_way(str(request.url)):
            raise TokenError(show_url(str(request.url)), "tokens are sent over https only, except to this machine")
        await request.aread()
        token = await self._source.token()
        response = yield self._sign(request, token)
        if response.status_code == _UNAUTHORIZED:
            newer = await self._source.token(refused=token)
            if newer != token:
                yield self._sign(request, newer)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        raise RuntimeError("tokens are fetched asynchronously: use an AsyncClient")

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        raise RuntimeError("tokens are fetched asynchronously: use an AsyncClient")

    def _sign(self, request: Any, token: str) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    def __repr__(self) -> str:
        return f"Bearer({self._source!r})"
