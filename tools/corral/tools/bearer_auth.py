"""Requests signed with a token source; imported late, as httpx and httpx2 are heavy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

import httpx
import httpx2

from corral.tools.address import is_private_way, show_url
from corral.tools.challenge import Challenge, Challenged, Proving
from corral.tools.errors import TokenError
from corral.tools.oauth import TokenSource

__all__ = ["Bearer"]

_ROUNDS: Final = 3
"""How often a request is sent at most: as it is, with a renewed token, and with one that a person consented to."""


class Bearer(httpx.Auth, httpx2.Auth):
    """See `corral.tools.oauth.bearer`. An async `Auth` of both libraries, whose protocols are the same."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def secrets(self) -> tuple[str, ...]:
        """As `TokenSource.secrets`."""
        return self._source.secrets()

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        if not is_private_way(str(request.url)):
            raise TokenError(show_url(str(request.url)), "tokens are sent over https only, except to this machine")
        await request.aread()
        token = await self._source.token()
        for round in range(_ROUNDS):
            response = yield self._sign(request, token)
            if self._asks_for_nonce(request, response):
                await _drop_body(response)
                response = yield self._sign(request, token)
                self._asks_for_nonce(request, response)
            challenge = Challenge.read(response, request)
            if challenge is None or round == _ROUNDS - 1:
                return
            newer = await self._renew(challenge, token, round)
            if newer is None or newer == token:
                return
            await _drop_body(response)
            token = newer

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        raise RuntimeError("tokens are fetched asynchronously: use an AsyncClient")

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        raise RuntimeError("tokens are fetched asynchronously: use an AsyncClient")

    async def _renew(self, challenge: Challenge, token: str, round: int) -> str | None:
        if isinstance(self._source, Challenged):
            return await self._source.challenged(challenge, token, round)
        if challenge.status == 401 and round == 0:
            return await self._source.token(refused=token)
        return None

    def _sign(self, request: Any, token: str) -> Any:
        if not token:
            request.headers.pop("Authorization", None)
            return request
        proofs = self._source.proofs if isinstance(self._source, Proving) else None
        if proofs is None:
            request.headers["Authorization"] = f"Bearer {token}"
        else:
            request.headers["Authorization"] = f"DPoP {token}"
            request.headers["DPoP"] = proofs.prove(request.method, str(request.url), token)
        return request

    def _asks_for_nonce(self, request: Any, response: Any) -> bool:
        """Keep the nonce that came with the response (RFC 9449 §8), and say whether to send the request again."""
        proofs = self._source.proofs if isinstance(self._source, Proving) else None
        if proofs is None or not proofs.learn(str(request.url), response.headers):
            return False
        return response.status_code == 401 and "use_dpop_nonce" in response.headers.get("WWW-Authenticate", "")

    def __repr__(self) -> str:
        return f"Bearer({self._source!r})"


async def _drop_body(response: Any) -> None:
    """Leave the body of a response that is followed by another unread: it may have no end."""
    await response.aclose()
    setattr(response, "_content", b"")  # noqa: B010 - as its own aread does; the client would read it otherwise
