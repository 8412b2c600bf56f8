"""Access tokens: one source of them for MCP and plain HTTP, with authlib at the token endpoint.

authlib's own client is used for that one request only: it does not renew on 401, and forgets scope and resource when it
fetches again (authlib 1.9.6).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable
from urllib.parse import quote_plus, urlsplit

from pydantic import SecretStr

from corral.tools.address import find_fault, is_loopback, is_private_way
from corral.tools.errors import TokenError, ToolConfigError
from corral.tools.secrets import hide_in_text
from corral.tools.token import Token
from corral.tools.variables import expand

if TYPE_CHECKING:
    from corral.tools.bearer import Bearer

__all__ = ["ClientAuthMethod", "OAuthClient", "TokenSource", "bearer"]

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post"]
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
    """A token source of the client credentials grant (RFC 6749 §4.4): the program acts for itself.

    A token is fetched when the first request needs one and renewed ahead of its end, by one request however many wait;
    meanwhile those that find the old one still valid go on. Nothing of it is shown by repr, errors or logs.

    Args:
        token_url: Of the token endpoint; https, except on this machine.
        client_id: It and the secret may name variables, `${VAR}`, looked up when a token is fetched.
        scopes: What is asked for; the server's default when empty.
        resource: The API that the token is for (RFC 8707).
        auth_method: How the client shows its secret.
        environ: Where variables are looked up; this process's environment when None.

    Raises:
        ToolConfigError: The URL is no URL, or one to which no secret may be sent.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: SecretStr | str,
        *,
        scopes: Iterable[str] = (),
        resource: str | None = None,
        auth_method: ClientAuthMethod = "client_secret_basic",
        environ: Mapping[str, str] | None = None,
        timeout: float = _FETCH_TIME,
    ) -> None:
        self._token_url = token_url
        self._client_id = client_id
        self._secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret)
        self._scopes = tuple(scopes)
        self._resource = resource
        self._auth_method = auth_method
        self._environ = environ
        self._timeout = timeout
        self._held: Token | None = None
        self._pending: asyncio.Task[Token] | None = None
        if "${" not in token_url and (fault := _find_fault(token_url)) is not None:
            raise ToolConfigError("token_url", fault)

    async def token(self, *, refused: str | None = None) -> str:
        held = self._held
        spare = held if held is not None and held.access != refused and held.is_usable else None
        if spare is not None and (spare.is_fresh or self._is_fetching()):
            return spare.access
        try:
            return (await self._fetch_once()).access
        except TokenError:
            if spare is not None and spare.is_usable:
                return spare.access
            raise

    def secrets(self) -> tuple[str, ...]:
        known = [self._expand_secret()]
        if self._held is not None:
            known += [self._held.access, self._held.refresh or ""]
        return tuple(each for each in known if each)

    def _is_fetching(self) -> bool:
        # A task of a loop that was closed in between will never end.
        pending = self._pending
        return pending is not None and not pending.done() and pending.get_loop() is asyncio.get_running_loop()

    async def _fetch_once(self) -> Token:
        """Join the fetch under way or begin one; a caller who is cancelled leaves it to the others."""
        pending = self._pending
        if pending is None or not self._is_fetching():
            pending = self._pending = asyncio.create_task(self._renew(), name="corral token")
            pending.add_done_callback(_look_at)
        return await asyncio.shield(pending)

    async def _renew(self) -> Token:
        self._held = await self._fetch()
        return self._held

    async def _fetch(self) -> Token:
        token_url, client_id, secret = (
            self._expand(text) for text in (self._token_url, self._client_id, self._secret.get_secret_value())
        )
        fault = _find_fault(token_url)
        if fault is not None:
            raise TokenError("the token endpoint", fault)
        return await self._ask(token_url, client_id, secret)

    async def _ask(self, token_url: str, client_id: str, secret: str) -> Token:
        from authlib.integrations.base_client import OAuthError  # authlib and httpx2 are heavy
        from httpx2 import HTTPError

        server = urlsplit(token_url).netloc
        wanted = {"scope": " ".join(self._scopes), "resource": self._resource or ""}
        try:
            async with self._endpoint(client_id, secret, token_url) as endpoint:
                fetched = await asyncio.wait_for(
                    endpoint.fetch_token(
                        token_url,
                        grant_type="client_credentials",
                        **{name: value for name, value in wanted.items() if value},
                    ),
                    self._timeout,
                )
            return Token.from_response(dict(fetched))
        except OAuthError as error:
            raise TokenError(server, self._explain(error, secret)) from None
        except TimeoutError:
            raise TokenError(server, f"it did not answer within {self._timeout:g} s") from None
        except HTTPError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            problem = f"it answered HTTP {status}" if status else f"it can't be reached ({type(error).__name__})"
            raise TokenError(server, problem) from None
        except ValueError as error:
            raise TokenError(server, f"this is no token endpoint: {error}") from None

    def _endpoint(self, client_id: str, secret: str, token_url: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # heavy

        basic = self._auth_method == "client_secret_basic"
        # RFC 6749 §2.3.1 has both parts form-encoded within HTTP Basic, which authlib 1.9.6 leaves out.
        encode = quote_plus if basic else str
        return AsyncOAuth2Client(
            client_id=encode(client_id),
            client_secret=encode(secret),
            token_endpoint_auth_method=self._auth_method,
            timeout=self._timeout,
            follow_redirects=False,
            trust_env=not is_loopback(urlsplit(token_url).hostname),
        )

    def _explain(self, error: Any, secret: str) -> str:
        code = str(error.error)[:60]
        if code == "invalid_client":
            return "it refused the client's id or secret (invalid_client)"
        if code == "invalid_scope":
            return f"it refused the scopes {' '.join(self._scopes)!r} (invalid_scope)"
        words = " ".join(str(error.description or "").split())[:200]
        return hide_in_text(f"it refused: {code}{': ' + words if words else ''}", (secret,))

    def _expand(self, text: str) -> str:
        try:
            return expand(text, os.environ if self._environ is None else self._environ)
        except LookupError as error:
            raise TokenError("the OAuth client", f"it needs {error.args[0]}, which is not set") from None

    def _expand_secret(self) -> str:
        try:
            return self._expand(self._secret.get_secret_value())
        except TokenError:
            return ""

    def __repr__(self) -> str:
        return f"OAuthClient({self._token_url!r}, {self._client_id!r}, scopes={self._scopes!r})"


def _find_fault(token_url: str) -> str | None:
    fault = find_fault(token_url)
    if fault is None and not is_private_way(token_url):
        return "a token endpoint is reached over https only, except on this machine"
    return fault


def _look_at(task: asyncio.Task[Token]) -> None:
    """Take the exception, so that asyncio does not report it again when all who waited were cancelled."""
    if not task.cancelled():
        task.exception()
