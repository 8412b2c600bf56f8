"""What the SDK's OAuth provider is given: a person at a browser or a workload's own token, and no memory.

Imported late, as the SDK is heavy.
"""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, OAuthFlowError
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from corral.tools.redirect import RedirectListener
from corral.tools.server_login import ServerLogin

__all__ = ["Browser", "Nowhere", "WorkloadProvider"]

_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class WorkloadProvider(OAuthClientProvider):
    """Shows a token of the place where the program runs, instead of asking a person."""

    assertion: Callable[[], str]

    async def _perform_authorization(self) -> httpx2.Request:
        context = self.context
        assertion = await anyio.to_thread.run_sync(self.assertion)
        form = {"grant_type": _JWT_BEARER, "assertion": assertion}
        if context.client_info is not None:
            form["client_id"] = context.client_info.client_id
        if context.should_include_resource_param(context.protocol_version):
            form["resource"] = context.get_resource_url()
        if context.client_metadata.scope:
            form["scope"] = context.client_metadata.scope
        return httpx2.Request("POST", self._get_token_endpoint(), data=form)


class Nowhere:
    """The provider's storage: what it knows is kept by the flow, all of it."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        return None

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        return None


class Browser:
    """Sends the person to a URL, and listens for where they come back."""

    def __init__(self, login: ServerLogin) -> None:
        self._login = login
        self._port = login.port or _free_port()
        self._stack = AsyncExitStack()
        self._listener: RedirectListener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/callback"

    def use(self, url: str) -> None:
        """Listen where the client was registered to."""
        self._port = urlsplit(url).port or self._port

    async def open(self, url: str) -> None:
        await self.close()
        self._listener = await self._stack.enter_async_context(RedirectListener(self._port))
        await anyio.to_thread.run_sync(self._login.show or webbrowser.open, url)

    async def wait(self) -> AuthorizationCodeResult:
        if self._listener is None:
            raise OAuthFlowError("nobody was asked")
        with anyio.move_on_after(self._login.timeout):
            answer = await self._listener.wait()
            if "code" not in answer:
                raise OAuthFlowError(f"consent was not given ({answer.get('error', 'no code')[:60]})")
            return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))
        raise OAuthFlowError(f"nobody consented within {self._login.timeout:g} s")

    async def close(self) -> None:
        self._listener = None
        await self._stack.aclose()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
