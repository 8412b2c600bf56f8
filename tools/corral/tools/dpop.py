"""Tokens that are bound to a key (DPoP, RFC 9449), around any flow of httpx2; imported late, as httpx2 is heavy."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from joserfc import jwt
from joserfc.jwk import ECKey

from corral.tools.address import show_url
from corral.tools.private_file import read_private, write_private

__all__ = ["KeyBound", "load_key"]

_ALGORITHM: Final = "ES256"


def load_key(path: Path | None) -> ECKey:
    """The key in the file, which is made if there is none; a new one without a file."""
    kept = None if path is None else read_private(path)
    if kept is not None:
        return ECKey.import_key(kept)
    key = ECKey.generate_key("P-256")
    if path is not None:
        write_private(path, dict(key.as_dict(private=True)))
    return key


class KeyBound(httpx2.Auth):
    """Proves with each token request, and each request with a token, that the key is held."""

    def __init__(self, inner: httpx2.Auth, key: ECKey) -> None:
        self._inner = inner
        self._key = key
        self._nonces: dict[str, str] = {}

    def secrets(self) -> tuple[str, ...]:
        """As `TokenSource.secrets`."""
        held = getattr(self._inner, "secrets", None)
        return () if held is None else held()

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        flow = self._inner.async_auth_flow(request)
        try:
            outgoing = await flow.__anext__()
            while True:
                signed = outgoing.headers.get("Authorization")
                self._prove(outgoing)
                response = yield outgoing
                if await self._asks_for_nonce(response):
                    self._prove(outgoing)
                    response = yield outgoing
                    await self._asks_for_nonce(response)
                if signed is not None:
                    outgoing.headers["Authorization"] = signed  # as the inner flow knows it
                if _is_token_request(outgoing):
                    response = await _as_bearer(response)
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    def _prove(self, request: httpx2.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        has_token = scheme in ("Bearer", "DPoP")
        if not has_token and not _is_token_request(request):
            return
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": request.method,
            "htu": show_url(str(request.url)),
            "iat": int(time.time()),
        }
        if has_token:
            request.headers["Authorization"] = f"DPoP {token}"
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        nonce = self._nonces.get(urlsplit(str(request.url)).netloc)
        if nonce is not None:
            claims["nonce"] = nonce
        header = {"typ": "dpop+jwt", "alg": _ALGORITHM, "jwk": self._key.as_dict(private=False)}
        request.headers["DPoP"] = jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    async def _asks_for_nonce(self, response: httpx2.Response) -> bool:
        """Keep the nonce that came with the response (RFC 9449 §8), and say whether to send the request again."""
        nonce = response.headers.get("DPoP-Nonce")
        if nonce is None:
            return False
        self._nonces[urlsplit(str(response.request.url)).netloc] = nonce
        if response.status_code not in (400, 401):
            return False
        return "use_dpop_nonce" in response.headers.get("WWW-Authenticate", "") or b"use_dpop_nonce" in (
            await response.aread()
        )


def _is_token_request(request: httpx2.Request) -> bool:
    kind = request.headers.get("Content-Type", "")
    return request.method == "POST" and "form-urlencoded" in kind and b"grant_type=" in request.content


async def _as_bearer(response: httpx2.Response) -> httpx2.Response:
    """The token response as the SDK's model takes it: of type Bearer only (mcp 2.3.0)."""
    try:
        answer: Any = json.loads(await response.aread())
    except ValueError:
        return response
    if response.status_code != 200 or str(answer.get("token_type", "")).lower() != "dpop":
        return response
    return httpx2.Response(200, json=answer | {"token_type": "Bearer"}, request=response.request)
