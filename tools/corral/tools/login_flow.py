"""The SDK's OAuth provider, without its stalls and with a memory; imported late, as the SDK is heavy.

The provider (mcp 2.3.0) holds its lock while each request is under way, and after a restart knows neither when its
token ends nor which server renews it. Here it is entered only when a token must be had, and gets back what it knew.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.utils import extract_field_from_www_auth
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import AnyUrl, ValidationError

from corral.tools.address import is_private_way, show_url
from corral.tools.errors import TokenError
from corral.tools.login_parts import Browser, Nowhere, WorkloadProvider
from corral.tools.private_file import hold_lock, read_private, write_private
from corral.tools.server_login import ServerLogin

__all__ = ["LoginFlow", "make_flow"]

_FORBIDDEN: Final = 403
_UNAUTHORIZED: Final = 401


def _is_no_failure(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("OAuth flow error")


# The provider logs a traceback which may show a token endpoint's whole answer; the failure is told by our own error.
logging.getLogger("mcp.client.auth.oauth2").addFilter(_is_no_failure)


def make_flow(login: ServerLogin, url: str) -> httpx2.Auth:
    """The `Auth` of connections to `url`: one for all that are made in this event loop."""
    flows = login.flows.setdefault(asyncio.get_running_loop(), {})
    if url not in flows:
        flows[url] = _bind(LoginFlow(login, url), login) if login.dpop else LoginFlow(login, url)
    return flows[url]


def _bind(flow: LoginFlow, login: ServerLogin) -> httpx2.Auth:
    from corral.tools.dpop import KeyBound, load_key

    return KeyBound(flow, load_key(None if login.folder is None else Path(login.folder) / "dpop-key.json"))


class LoginFlow(httpx2.Auth):
    """The `Auth` of one server's connection."""

    def __init__(self, login: ServerLogin, url: str) -> None:
        self._login = login
        self._server = urlsplit(url).netloc
        key = hashlib.sha256(f"{url}\n{login.client_id or ''}".encode()).hexdigest()[:32]
        self._path = None if login.folder is None else Path(login.folder) / f"{key}.json"
        self._lock = asyncio.Lock()
        self._browser = Browser(login)
        self._provider = self._make_provider(url)
        self._knows = False

    def secrets(self) -> tuple[str, ...]:
        """As `TokenSource.secrets`."""
        context = self._provider.context
        tokens = context.current_tokens
        secret = context.client_info.client_secret if context.client_info is not None else None
        known = (tokens and tokens.access_token, tokens and tokens.refresh_token, secret)
        return tuple(each for each in known if each)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if not is_private_way(str(request.url)):
            raise TokenError(show_url(str(request.url)), "tokens are sent over https only, except to this machine")
        self._recall()
        await request.aread()
        token, response = self._token(), None
        if token is not None:
            response = yield _sign(request, token)
            if not _wants_more(response):
                return
        async with self._lock:
            newer = self._token()
            if newer is not None and newer != token:
                response = yield _sign(request, newer)
                if not _wants_more(response):
                    return
            async with nullcontext() if self._path is None else hold_lock(self._path, self._login.timeout):
                if self._path is not None:
                    self._recall(again=True)
                flow = self._acquire(request, response)
                try:
                    outgoing = await flow.__anext__()
                    while True:
                        outgoing = await flow.asend((yield outgoing))
                except StopAsyncIteration:
                    pass
                finally:
                    await flow.aclose()
                    self._remember()

    async def _acquire(
        self, request: httpx2.Request, refused: httpx2.Response | None
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """The provider's flow, which is told of the refusal that was seen already."""
        context = self._provider.context
        used = request.headers.pop("Authorization", None)
        tokens = context.current_tokens
        if refused is not None and tokens is not None and used != f"Bearer {tokens.access_token}":
            refused = None  # another process has renewed it
        if refused is not None and refused.status_code == _UNAUTHORIZED and context.can_refresh_token():
            refused, context.token_expiry_time = None, 1.0  # renewed before anybody is asked
        if refused is not None:
            await refused.aread()
        flow = self._provider.async_auth_flow(request)
        try:
            outgoing = await flow.__anext__()
            while True:
                if outgoing is request and refused is not None:
                    response, refused = refused, None
                else:
                    response = yield outgoing
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        except (OAuthFlowError, ValidationError, ValueError) as error:
            words = str(error).partition("\n")[0][:200]  # further lines of pydantic's show the answer, with its tokens
            raise TokenError(self._server, f"logging in failed: {words or type(error).__name__}") from None
        finally:
            await flow.aclose()
            await self._browser.close()

    def _token(self) -> str | None:
        context = self._provider.context
        return context.current_tokens.access_token if context.is_token_valid() and context.current_tokens else None

    def _make_provider(self, url: str) -> OAuthClientProvider:
        redirect = AnyUrl(self._browser.url)
        metadata = OAuthClientMetadata(
            client_name=self._login.client_name,
            redirect_uris=[redirect],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        )
        provider = (OAuthClientProvider if self._login.assertion is None else WorkloadProvider)(
            url,
            metadata,
            Nowhere(),
            self._browser.open,
            self._browser.wait,
            client_metadata_url=self._login.client_metadata_url,
        )
        if isinstance(provider, WorkloadProvider) and self._login.assertion is not None:
            provider.assertion = self._login.assertion
        if self._login.client_id is not None:
            secret = self._login.client_secret
            provider.context.client_info = OAuthClientInformationFull(
                client_id=self._login.client_id,
                client_secret=None if secret is None else secret.get_secret_value(),
                redirect_uris=[redirect],
                token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
            )
        # Its own memory is left out: the provider would begin by forgetting what it is given here.
        setattr(provider, "_initialized", True)  # noqa: B010
        return provider

    def _recall(self, *, again: bool = False) -> None:
        if self._path is None or (self._knows and not again):
            return
        self._knows = True
        data = read_private(self._path)
        if data is None:
            return
        context = self._provider.context
        try:
            context.current_tokens = _load(OAuthToken, data.get("tokens"))
            context.oauth_metadata = _load(OAuthMetadata, data.get("metadata"))
            context.protected_resource_metadata = _load(ProtectedResourceMetadata, data.get("resource"))
            context.client_info = _load(OAuthClientInformationFull, data.get("client")) or context.client_info
        except ValidationError:
            return
        context.token_expiry_time = data.get("expires_at")
        context.auth_server_url = data.get("server")
        if context.client_info is not None and context.client_info.redirect_uris:
            self._browser.use(str(context.client_info.redirect_uris[0]))
            context.client_metadata.redirect_uris = list(context.client_info.redirect_uris)

    def _remember(self) -> None:
        # The provider forgets its client when a renewal fails; without this it would look for it in its own memory.
        setattr(self._provider, "_initialized", True)  # noqa: B010
        if self._path is None:
            return
        context = self._provider.context
        parts = {
            "tokens": context.current_tokens,
            "metadata": context.oauth_metadata,
            "resource": context.protected_resource_metadata,
            "client": context.client_info,
        }
        data: dict[str, Any] = {
            name: None if part is None else part.model_dump(mode="json", exclude_none=True)
            for name, part in parts.items()
        }
        write_private(self._path, data | {"expires_at": context.token_expiry_time, "server": context.auth_server_url})


def _load(model: Any, data: Any) -> Any:
    return None if data is None else model.model_validate(data)


def _sign(request: httpx2.Request, token: str) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _wants_more(response: httpx2.Response) -> bool:
    if response.status_code == _FORBIDDEN:
        return extract_field_from_www_auth(response, "error") == "insufficient_scope"
    return response.status_code == _UNAUTHORIZED
