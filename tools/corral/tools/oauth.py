"""Access tokens: one source of them for MCP and plain HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from pydantic import SecretStr

from corral.tools.errors import TokenError, ToolConfigError
from corral.tools.grants import ClientCredentials, Grant
from corral.tools.token import Token
from corral.tools.token_endpoint import ClientAuthMethod, RefusedGrant, TokenEndpoint, find_fault_of_endpoint
from corral.tools.token_store import TokenStore
from corral.tools.variables import expand

if TYPE_CHECKING:
    from corral.tools.bearer import Bearer

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
    from corral.tools.bearer import Bearer  # httpx and httpx2 are heavy

    return Bearer(source)


class OAuthClient:
    """A token source over one client of an authorization server; by client credentials if no other grant is given.

    A token is fetched when the first request needs one and renewed ahead of its end, by its refresh token if there is
    one, and by one request however many wait; meanwhile those that find the old one still valid go on. With a store,
    processes share the token, and one of them renews it. Nothing of it is shown by repr, errors or logs.

    Args:
        token_url: Of the token endpoint; https, except on this machine.
        client_id: It and the secret may name variables, `${VAR}`, looked up when a token is fetched.
        client_secret: None for a client that can keep none, which then needs a grant by a person.
        scopes: What is asked for; the server's default when empty.
        resource: The API that the token is for (RFC 8707).
        auth_method: How the client shows its secret.
        grant: How to come to a first token.
        store: Keeps the token over the end of the process.
        environ: Where variables are looked up; this process's environment when None.

    Raises:
        ToolConfigError: The URL is no URL, or one to which no secret may be sent.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: SecretStr | str | None = None,
        *,
        scopes: Iterable[str] = (),
        resource: str | None = None,
        auth_method: ClientAuthMethod | None = None,
        grant: Grant | None = None,
        store: TokenStore | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float = _FETCH_TIME,
    ) -> None:
        self._token_url = token_url
        self._client_id = client_id
        self._secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret or "")
        self._scopes = tuple(scopes)
        self._resource = resource
        self._auth_method: ClientAuthMethod = auth_method or (
            "none" if client_secret is None else "client_secret_basic"
        )
        self._grant = grant or ClientCredentials()
        self._store = store
        self._environ = environ
        self._timeout = timeout
        self._held: Token | None = None
        self._pending: asyncio.Task[Token] | None = None
        if "${" not in token_url and (fault := find_fault_of_endpoint(token_url)) is not None:
            raise ToolConfigError("token_url", fault)

    async def token(self, *, refused: str | None = None) -> str:
        """As `TokenSource.token`; a grant that needs a person is not begun here, but by `login`."""
        held = self._held
        spare = held if held is not None and held.access != refused and held.is_usable else None
        if spare is not None and (spare.is_fresh or self._is_fetching()):
            return spare.access
        try:
            return (await self._fetch_once(refused)).access
        except TokenError:
            if spare is not None and spare.is_usable:
                return spare.access
            raise

    async def login(self) -> None:
        """Come to a new token by the grant, with a person if it needs one, and keep it.

        Raises:
            TokenError: None was given.
        """
        token = await self._grant.first(self._endpoint())
        async with self._locked():
            self._keep(token)

    def logout(self) -> None:
        """Forget the token, here and in the store."""
        self._held = None
        if self._store is not None:
            self._store.delete(self._key())

    @property
    def is_logged_in(self) -> bool:
        """There is a token that is valid or may be renewed."""
        held = self._load()
        return held is not None and (held.is_usable or held.refresh is not None)

    def secrets(self) -> tuple[str, ...]:
        try:
            known = [self._expand(self._secret.get_secret_value())]
        except TokenError:
            known = []
        if self._held is not None:
            known += [self._held.access, self._held.refresh or ""]
        return tuple(each for each in known if each)

    def _is_fetching(self) -> bool:
        # A task of a loop that was closed in between will never end.
        pending = self._pending
        return pending is not None and not pending.done() and pending.get_loop() is asyncio.get_running_loop()

    async def _fetch_once(self, refused: str | None) -> Token:
        """Join the fetch under way or begin one; a caller who is cancelled leaves it to the others.

        A refresh token may be used up by a request whose answer nobody takes.
        """
        pending = self._pending
        if pending is None or not self._is_fetching():
            pending = self._pending = asyncio.create_task(self._renew(refused), name="corral token")
            pending.add_done_callback(_look_at)
        return await asyncio.shield(pending)

    async def _renew(self, refused: str | None) -> Token:
        async with self._locked():
            held = self._load()
            if held is not None and held.access != refused and held.is_fresh:
                self._held = held  # another process was faster
                return held
            return self._keep(await self._fetch(held))

    async def _fetch(self, held: Token | None) -> Token:
        endpoint = self._endpoint()
        if held is not None and held.refresh is not None:
            try:
                return await endpoint.ask("refresh_token", held, refresh_token=held.refresh)
            except RefusedGrant as refusal:
                if refusal.code != "invalid_grant":
                    raise
                self.logout()
        if self._grant.is_interactive:
            raise TokenError(endpoint.server, "nobody is logged in, or the login has ended; log in again")
        return await self._grant.first(endpoint)

    def _load(self) -> Token | None:
        stored = None if self._store is None else self._store.load(self._key())
        return self._held if stored is None else stored

    def _keep(self, token: Token) -> Token:
        self._held = token
        if self._store is not None:
            self._store.save(self._key(), token)
        return token

    def _locked(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._store is None else self._store.lock(self._key())

    def _key(self) -> str:
        """A name for the token: of the server, the client, and what it is for."""
        parts = [self._token_url, self._client_id, self._resource or "", *sorted(self._scopes)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _endpoint(self) -> TokenEndpoint:
        url, client_id, secret = (
            self._expand(text) for text in (self._token_url, self._client_id, self._secret.get_secret_value())
        )
        scope = " ".join(self._scopes)
        return TokenEndpoint(url, client_id, secret, self._auth_method, scope, self._resource, self._timeout)

    def _expand(self, text: str) -> str:
        try:
            return expand(text, os.environ if self._environ is None else self._environ)
        except LookupError as error:
            raise TokenError("the OAuth client", f"it needs {error.args[0]}, which is not set") from None

    def __repr__(self) -> str:
        return f"OAuthClient({self._token_url!r}, {self._client_id!r}, scopes={self._scopes!r})"


def _look_at(task: asyncio.Task[Token]) -> None:
    """Take the exception, so that asyncio does not report it again when all who waited were cancelled."""
    if not task.cancelled():
        task.exception()
