"""The token source of one MCP server's connection; imported late, as it needs the HTTP libraries.

It replaces the SDK's own provider (mcp 2.3.0), which holds its lock while each request is under way, knows after a
restart neither when its token ends nor which server renews it, and bounds no answer of an authorization server.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from corral.tools.address import is_inside
from corral.tools.bearer_auth import Bearer
from corral.tools.challenge import Challenge
from corral.tools.client_identity import ClientIdentity
from corral.tools.dpop import Proofs, make_key
from corral.tools.errors import TokenError
from corral.tools.grants import AuthorizationCode, DeviceCode, Grant, JwtBearer
from corral.tools.login import Login
from corral.tools.login_keeper import LoginKeeper
from corral.tools.oauth_http import client_options
from corral.tools.protected_resource import Resource, find_resource, find_server, wanted_scopes
from corral.tools.registration import choose_method, identity_of, may_ask_for, register
from corral.tools.server_login import ServerLogin
from corral.tools.server_metadata import AuthServer
from corral.tools.token_endpoint import RefusedGrant, TokenEndpoint
from corral.tools.variables import expand_of_client

__all__ = ["LoginFlow", "log_in", "make_flow"]

_TIME: Final = 15.0
_FORBIDDEN: Final = 403
_ASKED_AS: Final = "2025-11-25"
_FIRST_RESOURCE: Final = "2025-06-18"
"""The version of MCP that asks for tokens by resource."""


def make_flow(login: ServerLogin, url: str, *, allow_private: bool = False) -> Bearer:
    """The `Auth` of connections to `url`: one for all that are made in this event loop.

    Args:
        allow_private: Names may lead into this machine or network, the server's and those that it leads to.
    """
    flows = login.flows.setdefault(asyncio.get_running_loop(), {})
    if url not in flows:
        flows[url] = Bearer(LoginFlow(login, url, allow_private=allow_private))
    return flows[url]


async def log_in(
    login: ServerLogin, url: str, headers: Mapping[str, str] | None = None, *, allow_private: bool = False
) -> Login | None:
    """Log in to the server at `url`, unless that was done before; None if it wants no login.

    Raises:
        TokenError: It did not come about, or the server refuses the token that it led to.
    """
    flow = LoginFlow(login, url, allow_private=allow_private)
    await flow.widen()
    said = {"mcp-protocol-version": _ASKED_AS, "accept": "application/json, text/event-stream", **(headers or {})}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    options: dict[str, Any] = {**client_options(url, allow_private), "timeout": _TIME, "event_hooks": {}}
    try:
        async with (
            httpx2.AsyncClient(auth=Bearer(flow), **options) as client,
            client.stream("POST", url, json=ping, headers=said) as response,
        ):
            status = response.status_code
    except httpx2.HTTPError as error:
        raise TokenError(urlsplit(url).netloc, f"it can't be reached ({type(error).__name__})") from None
    if status in (401, _FORBIDDEN):
        raise TokenError(urlsplit(url).netloc, f"it refuses what its authorization server gave (HTTP {status})")
    return None if flow.kept.token is None else flow.kept


class LoginFlow:
    """A token source that learns from the server's refusals where its tokens come from."""

    def __init__(self, login: ServerLogin, url: str, *, allow_private: bool = False) -> None:
        self._login = login
        self._allow_private = allow_private or is_inside(urlsplit(url).hostname)
        self._url = url
        self._server = urlsplit(url).netloc
        user = f"\n{login.user}" if login.user else ""
        name = hashlib.sha256(f"{url}\n{login.client_id or ''}{user}".encode()).hexdigest()[:32]
        self._keeper = LoginKeeper(name, login.kept_in)
        self._consented: str | None = None

    async def token(self, *, refused: str | None = None) -> str:
        """As `TokenSource.token`; empty where the server has to be asked first what it wants."""
        login = await self._keeper.look()
        held = login.token
        spare = held if held is not None and held.access != refused and held.is_usable else None
        if spare is not None and (spare.is_fresh or self._keeper.is_renewing):
            return spare.access
        if not self._can_renew(login):
            return "" if spare is None else spare.access
        try:
            return await self._keeper.renew(refused, self._renew)
        except TokenError as error:
            if spare is not None and spare.is_usable:
                return spare.access
            if isinstance(error, RefusedGrant):
                return ""
            raise

    async def challenged(self, challenge: Challenge, used: str, round: int) -> str | None:
        """As `Challenged.challenged`: what can be renewed is, before anybody is asked."""
        login = self._keeper.held
        if challenge.status != _FORBIDDEN and round == 0 and used and self._can_renew(login):
            newer = await self.token(refused=used)
            if newer:
                return newer
        if round > 0 and (challenge.status == _FORBIDDEN or used == self._consented):
            return None  # nobody is asked twice for one request
        self._consented = await self._consent(challenge, used)
        return self._consented

    async def widen(self) -> None:
        """Ask the person once more if there is a login without some of the scopes that shall be asked for.

        Raises:
            TokenError: Nobody consented.
        """
        token = (await self._keeper.look()).token
        if token is None or set(self._login.scopes) <= set((token.scope or "").split()):
            return
        await self._consent(Challenge(_FORBIDDEN, scope=" ".join(self._login.scopes)), token.access)

    async def logout(self) -> bool:
        """Forget the login, here and in the store, and end it at the server; False if that has no place for it.

        Raises:
            TokenError: The server could not be told; here it is forgotten all the same.
        """
        login = await self._keeper.take()
        if login.token is None or login.server is None:
            return False
        return await self._endpoint(login, "").revoke(login.token)

    @property
    def kept(self) -> Login:
        """What is known, from the store if there is one."""
        return self._keeper.load_now()

    @property
    def proofs(self) -> Proofs | None:
        """As `Proving.proofs`."""
        return self._keeper.proofs

    def secrets(self) -> tuple[str, ...]:
        """As `TokenSource.secrets`."""
        secret = self._login.client_secret
        try:
            own = () if secret is None else (expand_of_client(secret.get_secret_value(), self._login.environ),)
        except TokenError:
            own = ()
        return (*own, *self._keeper.secrets())

    def _can_renew(self, login: Login) -> bool:
        has_refresh = login.token is not None and login.token.refresh is not None
        return login.server is not None and (has_refresh or (login.token is not None and not self._asks))

    @property
    def _asks(self) -> bool:
        return self._grant("").is_interactive

    async def _renew(self, login: Login) -> Login:
        token = login.token
        assert token is not None
        endpoint = self._endpoint(login, token.scope or "")
        if token.refresh is None:
            return replace(login, token=await self._grant("").first(endpoint))
        try:
            return replace(login, token=await endpoint.ask("refresh_token", token, refresh_token=token.refresh))
        except RefusedGrant as refusal:
            if refusal.code == "invalid_grant":
                await self._keeper.keep(replace(login, token=None))
            raise

    async def _consent(self, challenge: Challenge, used: str) -> str:
        """The token of a new login; of several processes that need it, one asks, and the others take what it got."""

        async def begin(login: Login) -> Login:
            if not self._login.ask and self._asks:
                needed = f" with the scopes {challenge.scope!r}" if challenge.status == _FORBIDDEN else ""
                raise TokenError(self._server, f"nobody is logged in{needed}; {self._login.advice}")
            return await self._begin(login, challenge)

        return await self._keeper.renew(used, begin, purpose=".login", timeout=self._login.timeout)

    async def _begin(self, login: Login, challenge: Challenge) -> Login:
        is_step_up = challenge.status == _FORBIDDEN and login.server is not None
        if not is_step_up:
            login = await self._discover(login, challenge)
        server, resource = login.server, self._resource(login)
        assert server is not None
        scope = wanted_scopes(challenge, resource, server, person=self._asks)
        if challenge.status == _FORBIDDEN:
            before = "" if login.token is None else login.token.scope or ""
            scope = " ".join(dict.fromkeys((*before.split(), *scope.split())))
        scope = " ".join(dict.fromkeys((*scope.split(), *self._login.scopes)))
        redirect = self._redirect(login)
        if login.client is not None and not may_ask_for(login.client, scope):
            login = replace(login, client=None)
        if login.client is None:
            login = replace(login, client=await self._register(server, redirect, scope))
        wants_key = self._login.dpop or (resource is not None and resource.wants_dpop)
        if wants_key and login.key is None:
            login = replace(login, key=make_key())
        endpoint = self._endpoint(login, scope, challenge.protocol)
        token = await self._grant(redirect).first(endpoint)
        # RFC 6749 §5.1: a scope that is not named is the one that was asked for.
        return replace(login, token=token if token.scope is not None else replace(token, scope=scope))

    async def _discover(self, login: Login, challenge: Challenge) -> Login:
        resource, data = await find_resource(self._url, challenge, allow_private=self._allow_private)
        server = await find_server(self._url, resource, allow_private=self._allow_private)
        client = login.client
        if client is not None and client.get("issuer") not in (None, server.issuer):
            client = None  # registered elsewhere: nobody else may see it (SEP-2352)
        return replace(login, server=server, resource=data, client=client)

    async def _register(self, server: AuthServer, redirect: str, scope: str) -> dict[str, Any] | None:
        login = self._login
        if login.client_id is not None or isinstance(self._grant(""), JwtBearer):
            return None
        if login.client_metadata_url is not None and server.takes_metadata_urls:
            return {"client_id": login.client_metadata_url, "redirect_uris": [redirect]}
        kinds = ("urn:ietf:params:oauth:grant-type:device_code",) if isinstance(login.grant, DeviceCode) else ()
        kinds = (*kinds, "authorization_code", "refresh_token")
        allow_private = self._allow_private
        return await register(server, login.client_name, redirect, scope, kinds, allow_private=allow_private)

    def _endpoint(self, login: Login, scope: str, protocol: str | None = None) -> TokenEndpoint:
        assert login.server is not None
        resource = self._resource(login)
        name = None if resource is None else resource.name
        if name is None and (protocol or "") >= _FIRST_RESOURCE:
            name = self._url.partition("#")[0]
        return TokenEndpoint(
            login.server,
            self._identity(login, login.server),
            scope,
            name,
            _TIME,
            self._keeper.proofs_of(login),
            self._keeper.clock,
            self._allow_private,
        )

    def _identity(self, login: Login, server: AuthServer) -> ClientIdentity:
        own = self._login
        if own.client_id is None:
            return ClientIdentity("") if login.client is None else identity_of(login.client, self._server)
        client_id = expand_of_client(own.client_id, own.environ)
        if own.client_secret is None:
            return ClientIdentity(client_id, assertion=own.client_assertion)
        return ClientIdentity(
            client_id, expand_of_client(own.client_secret.get_secret_value(), own.environ), choose_method(server)
        )

    def _grant(self, redirect: str) -> Grant:
        login = self._login
        if login.assertion is not None:
            return JwtBearer(login.assertion)
        if login.grant is not None:
            return login.grant
        return AuthorizationCode(None, login.show, urlsplit(redirect).port or 0, timeout=login.timeout)

    def _redirect(self, login: Login) -> str:
        """Where the browser comes back to: where the client was registered to."""
        if login.client is not None and login.client.get("redirect_uris"):
            return str(login.client["redirect_uris"][0])
        return f"http://127.0.0.1:{self._login.port or _free_port()}/callback"

    def _resource(self, login: Login) -> Resource | None:
        return None if login.resource is None else Resource.from_json(login.resource, self._url)

    def __repr__(self) -> str:
        return f"LoginFlow({self._server!r})"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
