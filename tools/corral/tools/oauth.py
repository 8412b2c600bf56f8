"""Access tokens: one source of them for MCP and plain HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import SecretStr

from corral.tools.challenge import Challenge
from corral.tools.client_identity import Assertion, ClientAuthMethod, ClientIdentity
from corral.tools.discovery import discover_server, find_fault_of_issuer
from corral.tools.errors import TokenError, ToolConfigError
from corral.tools.grants import ClientCredentials, Grant
from corral.tools.login import Login
from corral.tools.login_keeper import LoginKeeper
from corral.tools.server_metadata import AuthServer
from corral.tools.token_endpoint import RefusedGrant, TokenEndpoint, find_fault_of_endpoint
from corral.tools.token_store import TokenStore
from corral.tools.variables import expand_of_client

if TYPE_CHECKING:
    from corral.tools.bearer_auth import Bearer
    from corral.tools.dpop import Proofs

__all__ = ["ClientAuthMethod", "OAuthClient", "TokenSource", "bearer"]

_FETCH_TIME: Final = 15.0


@runtime_checkable
class TokenSource(Protocol):
    """Gives access tokens; many requests may ask at once."""

    async def token(self, *, refused: str | None = None) -> str:
        """An access token that is valid now.

        Args:
            refused: The one that a server did not take: it is not given again, unless there is no other.

        Raises:
            TokenError: None can be had.
        """
        ...

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in results: the tokens and secrets that it holds now."""
        ...


def bearer(source: TokenSource) -> Bearer:
    """`source` as the `auth=` of an `httpx.AsyncClient` or an `httpx2.AsyncClient`: it is an `Auth` of both.

    A 401 is answered once with a new token. Requests over plain http are refused, except to this machine. The
    request's body is read into memory, to be sent again.
    """
    from corral.tools.bearer_auth import Bearer  # httpx and httpx2 are heavy

    return Bearer(source)


class OAuthClient:
    """A token source over one client of an authorization server; by client credentials if no other grant is given.

    A token is fetched when the first request needs one and renewed ahead of its end, by its refresh token if there is
    one, and by one request however many wait; meanwhile those that find the old one still valid go on. With a store,
    processes share the token, and one of them renews it. Nothing of it is shown by repr, errors or logs.

    Args:
        token_url: Of the token endpoint; https, except on this machine. None if the issuer says it.
        client_id: It and the secret may name variables, `${VAR}`, looked up when a token is fetched.
        client_secret: None for a client that can keep none, which then needs an assertion, or a grant by a person.
        issuer: Its metadata says the endpoints (RFC 8414); asked when they are first needed.
        scopes: What is asked for; the server's default when empty.
        resource: The API that the token is for (RFC 8707).
        auth_method: How the client shows its secret.
        assertion: Shows who the client is instead of a secret: `PrivateKeyJwt`, or the `TokenFile` of a workload.
        grant: How to come to a first token.
        dpop: Bind the tokens to a key, which the store keeps with them (RFC 9449).
        step_up: Where an API says which scopes are missing, ask for those too; a person is asked again then.
        store: Keeps the token over the end of the process.
        user: Whose token it is, where several people's are kept in one store.
        advice: What is said to who has to log in.
        environ: Where variables are looked up; this process's environment when None.

    Raises:
        ToolConfigError: The URL is no URL, or one to which no secret may be sent.
    """

    def __init__(
        self,
        token_url: str | None,
        client_id: str,
        client_secret: SecretStr | str | None = None,
        *,
        issuer: str | None = None,
        scopes: Iterable[str] = (),
        resource: str | None = None,
        auth_method: ClientAuthMethod | None = None,
        assertion: Assertion | None = None,
        grant: Grant | None = None,
        dpop: bool = False,
        step_up: bool = False,
        store: TokenStore | None = None,
        user: str = "",
        advice: str = "log in again",
        environ: Mapping[str, str] | None = None,
        timeout: float = _FETCH_TIME,
    ) -> None:
        self._token_url = token_url
        self._issuer = issuer
        self._client_id = client_id
        self._secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret or "")
        self._scopes = tuple(scopes)
        self._resource = resource
        self._auth_method: ClientAuthMethod = auth_method or (
            "none" if client_secret is None else "client_secret_basic"
        )
        self._assertion = assertion
        self._grant = grant or ClientCredentials()
        self._dpop = dpop
        self._step_up = step_up
        self._user = user
        self._advice = advice
        self._environ = environ
        self._timeout = timeout
        self._keeper = LoginKeeper(self._name(), store)
        self._check(token_url, issuer)

    async def token(self, *, refused: str | None = None) -> str:
        """As `TokenSource.token`; a grant that needs a person is not begun here, but by `login`."""
        held = (await self._keeper.look()).token
        spare = held if held is not None and held.access != refused and held.is_usable else None
        if spare is not None and (spare.is_fresh or self._keeper.is_renewing):
            return spare.access
        try:
            return await self._keeper.renew(refused, self._renew)
        except TokenError:
            if spare is not None and spare.is_usable:
                return spare.access
            raise

    async def challenged(self, challenge: Challenge, used: str, round: int) -> str | None:
        """As `Challenged.challenged`: one renewal, or one more consent."""
        if round > 0:
            return None
        if challenge.status == 401:
            return await self.token(refused=used)
        if not self._step_up or not challenge.scope:
            return None
        granted = (self._keeper.held.token and self._keeper.held.token.scope) or ""
        self._scopes = tuple(dict.fromkeys((*self._scopes, *granted.split(), *challenge.scope.split())))
        return await self._keeper.renew(used, self._begin)

    async def login(self, grant: Grant | None = None) -> None:
        """Come to a new token by the grant, with a person if it needs one, and keep it.

        Args:
            grant: Another way than the client's own, this once.

        Raises:
            TokenError: None was given.
        """
        login = await self._begin(await self._keeper.look(), grant)
        async with self._keeper.locked():
            await self._keeper.keep(login)

    async def logout(self) -> bool:
        """Forget the token, here and in the store, and end it at the server; False if that has no place for it.

        Raises:
            TokenError: The server could not be told; here it is forgotten all the same.
        """
        login = await self._keeper.take()
        if login.token is None:
            return False
        endpoint = await self._endpoint(login)
        return await endpoint.revoke(login.token)

    @property
    def is_interactive(self) -> bool:
        """A person has to log in."""
        return self._grant.is_interactive

    def describe(self) -> dict[str, Any]:
        """What finds this login again; there is no secret in it."""
        return {"client_id": self._client_id, "scopes": list(self._scopes), "resource": self._resource}

    @property
    def kept(self) -> Login:
        """What is known of the login, from the store if there is one."""
        return self._keeper.load_now()

    @property
    def is_logged_in(self) -> bool:
        """There is a token that is valid or may be renewed."""
        held = self._keeper.load_now().token
        return held is not None and (held.is_usable or held.refresh is not None)

    @property
    def proofs(self) -> Proofs | None:
        """As `Proving.proofs`."""
        return self._keeper.proofs

    def secrets(self) -> tuple[str, ...]:
        try:
            known = [self._expand(self._secret.get_secret_value())]
        except TokenError:
            known = []
        return tuple(each for each in (*known, *self._keeper.secrets()) if each)

    async def _renew(self, login: Login) -> Login:
        login = self._with_key(login)
        if login.token is not None and login.token.refresh is not None:
            endpoint = await self._endpoint(login)
            try:
                token = await endpoint.ask("refresh_token", login.token, refresh_token=login.token.refresh)
                return replace(login, token=token, server=endpoint.metadata)
            except RefusedGrant as refusal:
                if refusal.code != "invalid_grant":
                    raise
                await self._keeper.forget()
                login = replace(login, token=None)
        if self._grant.is_interactive:
            raise TokenError(self._server, f"nobody is logged in, or the login has ended; {self._advice}")
        return await self._begin(login)

    async def _begin(self, login: Login, grant: Grant | None = None) -> Login:
        login = self._with_key(login) if self._dpop else replace(login, key=None)
        endpoint = await self._endpoint(login)
        token = await (grant or self._grant).first(endpoint)
        return replace(login, token=token, server=endpoint.metadata)

    def _with_key(self, login: Login) -> Login:
        """The login with a key to bind its tokens to, if they shall be."""
        if not self._dpop or login.key is not None:
            return login
        from corral.tools.dpop import make_key  # heavy

        return replace(login, key=make_key())

    async def _endpoint(self, login: Login) -> TokenEndpoint:
        return TokenEndpoint(
            await self._metadata(login),
            ClientIdentity(
                self._expand(self._client_id),
                self._expand(self._secret.get_secret_value()),
                self._auth_method,
                self._assertion,
            ),
            " ".join(self._scopes),
            self._resource,
            self._timeout,
            self._keeper.proofs_of(login),
            self._keeper.clock,
        )

    async def _metadata(self, login: Login) -> AuthServer:
        url, issuer = (self._expand(text or "") for text in (self._token_url, self._issuer))
        if url:
            return AuthServer(issuer, url)
        if login.server is not None and login.server.issuer.rstrip("/") == issuer.rstrip("/"):
            return login.server
        return await discover_server(issuer, timeout=self._timeout)

    @property
    def _server(self) -> str:
        """For messages: as it was configured."""
        return urlsplit(self._token_url or self._issuer or "").netloc

    def _name(self) -> str:
        """A name for the login in a store: of the server, the client, and what it is for."""
        where = self._token_url or self._issuer or ""
        parts = [where, self._client_id, self._resource or "", *sorted(self._scopes)]
        parts += [f"user {self._user}"] if self._user else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _check(self, token_url: str | None, issuer: str | None) -> None:
        if not token_url and not issuer:
            raise ToolConfigError("token_url", "it is required, or an issuer that says it")
        if token_url and "${" not in token_url and (fault := find_fault_of_endpoint(token_url)) is not None:
            raise ToolConfigError("token_url", fault)
        if issuer and "${" not in issuer and (fault := find_fault_of_issuer(issuer)) is not None:
            raise ToolConfigError("issuer", fault)

    def _expand(self, text: str) -> str:
        return expand_of_client(text, self._environ)

    def __repr__(self) -> str:
        return f"OAuthClient({self._token_url or self._issuer!r}, {self._client_id!r}, scopes={self._scopes!r})"
