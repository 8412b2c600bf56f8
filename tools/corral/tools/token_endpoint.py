"""The token endpoint of an authorization server, asked through authlib.

authlib's own client is used for that one request only: it does not renew on 401, forgets scope and resource when it
fetches again, and knows no DPoP (authlib 1.9.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote_plus, urlsplit

import anyio

from corral.tools.address import find_fault, is_private_way, show_url
from corral.tools.client_identity import ClientIdentity
from corral.tools.clock import ServerClock
from corral.tools.errors import TokenError
from corral.tools.secrets import hide_in_text, readable
from corral.tools.server_metadata import AuthServer
from corral.tools.token import Token

if TYPE_CHECKING:
    from corral.tools.dpop import Proofs

__all__ = ["RefusedGrant", "TokenEndpoint", "find_fault_of_endpoint"]

_MAX_WORDS: Final = 200
_WAITS: Final = (0.1, 0.4)
"""Seconds before a server is tried again that could not be reached."""
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OFF_CLOCK: Final = frozenset(("invalid_client", "invalid_dpop_proof", "invalid_grant", "invalid_request"))


class RefusedGrant(TokenError):
    """The authorization server answered, and refused.

    Attributes:
        code: Its error code (RFC 6749 §5.2), such as "invalid_grant".
    """

    def __init__(self, server: str, problem: str, code: str) -> None:
        super().__init__(server, problem)
        self.args = (server, problem, code)
        self.code = code


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens are asked for, and by whom; secrets are not shown by repr.

    Attributes:
        metadata: The server's, as far as it is known.
        scope: Asked for, with spaces between.
        resource: The API that the token is for (RFC 8707).
        proofs: Of the key that tokens shall be bound to.
        clock: The server's, for what is signed.
        allow_private: The server's name may lead into this machine or network.
    """

    metadata: AuthServer
    client: ClientIdentity
    scope: str
    resource: str | None
    timeout: float
    proofs: Proofs | None = field(default=None, repr=False)
    clock: ServerClock = field(default_factory=ServerClock, repr=False)
    allow_private: bool = True

    @property
    def server(self) -> str:
        return urlsplit(self.metadata.token_url).netloc

    @property
    def client_id(self) -> str:
        return self.client.id

    async def ask(self, grant_type: str, previous: Token | None = None, **form: str) -> Token:
        """The token for a grant.

        Args:
            previous: Whose refresh token and scope stay in use if no others come.

        Raises:
            RefusedGrant: The server refused.
            TokenError: It can't be asked, or did not answer like a token endpoint.
        """
        fault = find_fault_of_endpoint(self.metadata.token_url)
        if fault is not None:
            raise TokenError("the token endpoint", fault)
        if self.resource:
            form["resource"] = self.resource
        answer = await self._ask(self.metadata.token_url, {"grant_type": grant_type, **form})
        try:
            token = Token.from_response(answer, previous)
        except ValueError as error:
            raise TokenError(self.server, f"this is no token endpoint: {error}") from None
        if token.kind == "DPoP" and self.proofs is None:
            raise TokenError(self.server, "it gave a token that is bound to a key, which was not asked for")
        return token

    async def post(self, url: str, **form: str) -> dict[str, Any]:
        """What another endpoint of the same server answers to the client, such as the one of RFC 8628 §3.1.

        Raises:
            RefusedGrant: It refused.
            TokenError: It can't be asked.
        """
        fault = find_fault_of_endpoint(url)
        if fault is not None:
            raise TokenError(show_url(url), fault)
        return await self._ask(url, form)

    async def revoke(self, token: Token) -> bool:
        """End the login at the server (RFC 7009); False if it has no place for that.

        Raises:
            TokenError: It can't be asked, or refused.
        """
        url = self.metadata.revoke_url
        if url is None:
            return False
        if token.refresh is not None:
            await self._ask(url, {"token": token.refresh, "token_type_hint": "refresh_token"}, bare=True)
        await self._ask(url, {"token": token.access, "token_type_hint": "access_token"}, bare=True)
        return True

    async def _ask(self, url: str, form: dict[str, str], *, bare: bool = False) -> dict[str, Any]:
        """The JSON object that the endpoint answers, asked again with what it said was missing: a nonce, its time."""
        said = {name: value for name, value in form.items() if value}
        for is_last in (False, False, True):
            response = await self._send(url, said)
            refusal = self._read_refusal(response, said)
            if refusal is None:
                return {} if bare else self._read(response)
            has_nonce = self.proofs is not None and self.proofs.learn(url, response.headers)
            is_off = refusal.code in _OFF_CLOCK and self._signs and self.clock.learn(response.headers)
            if is_last or not ((has_nonce and refusal.code == "use_dpop_nonce") or is_off):
                raise refusal
        raise AssertionError("unreachable")

    async def _send(self, url: str, said: dict[str, str]) -> Any:
        """The response; a server that can't be reached is tried again, as it may be starting."""
        from corral.tools.oauth_http import Unreached, told  # httpx2 is heavy

        for wait in (*_WAITS, None):
            client = self._client(url)  # imports authlib, which is heavy: not the server's time
            try:
                async with told(url, self.timeout), client:
                    return await client.request("POST", url, withhold_token=True, **self._prepare(client, url, said))
            except Unreached:
                if wait is None:
                    raise
            await anyio.sleep(wait)
        raise AssertionError("unreachable")

    @property
    def _signs(self) -> bool:
        return self.proofs is not None or self.client.assertion is not None

    def _prepare(self, client: Any, url: str, said: dict[str, str]) -> dict[str, Any]:
        """Form, headers and authentication of one request: what is signed is good for once."""
        from corral.tools.oauth_http import ACCEPTED  # httpx2 is heavy

        form, headers = dict(said), dict(ACCEPTED)
        if self.proofs is not None:
            headers["DPoP"] = self.proofs.prove("POST", url)
        identity = self.client
        if identity.assertion is not None:
            audience = self.metadata.issuer or self.metadata.token_url
            form["client_assertion"] = identity.assertion(identity.id, audience, self.clock)
            form["client_assertion_type"] = _ASSERTION
        if identity.method == "client_secret_basic":
            return {"data": form, "headers": headers, "auth": client.client_auth("client_secret_basic")}
        form["client_id"] = identity.id
        if identity.method == "client_secret_post":
            form["client_secret"] = identity.secret
        return {"data": form, "headers": headers, "auth": None}

    def _client(self, url: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # heavy

        from corral.tools.oauth_http import client_options

        return AsyncOAuth2Client(
            # RFC 6749 §2.3.1 has both parts form-encoded within HTTP Basic, which authlib 1.9.6 leaves out.
            client_id=quote_plus(self.client.id),
            client_secret=quote_plus(self.client.secret),
            follow_redirects=False,
            **client_options(url, self.allow_private),
        )

    def _read(self, response: Any) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            kind = response.headers.get("content-type", "nothing").partition(";")[0][:40]
            raise TokenError(self.server, f"this is no token endpoint: it answered with {kind}, not a JSON object")
        return cast("dict[str, Any]", answer)

    def _read_refusal(self, response: Any, form: dict[str, str]) -> RefusedGrant | None:
        """The error of a response that is one.

        Raises:
            TokenError: It is an error of another kind than a token endpoint's.
        """
        if response.is_success:
            return None
        if response.next_request is not None:
            there = show_url(str(response.next_request.url))
            raise TokenError(self.server, f"it redirects to {there}, where no secret is sent")
        try:
            code = self._read(response).get("error")
        except TokenError:
            code = None
        if not isinstance(code, str):
            raise TokenError(self.server, f"it answered HTTP {response.status_code}")
        return self._refused(readable(code, 60), str(response.json().get("error_description") or ""), form)

    def _refused(self, code: str, description: str, form: dict[str, str]) -> RefusedGrant:
        if code == "invalid_client":
            return RefusedGrant(self.server, "it refused the client's id or secret (invalid_client)", code)
        if code == "invalid_scope":
            return RefusedGrant(self.server, f"it refused the scopes {self.scope!r} (invalid_scope)", code)
        words = readable(description, _MAX_WORDS)
        problem = hide_in_text(
            f"it refused: {code}{': ' + words if words else ''}", (self.client.secret, *form.values())
        )
        return RefusedGrant(self.server, problem, code)


def find_fault_of_endpoint(url: str) -> str | None:
    """Why no secret may be sent there, or None."""
    fault = find_fault(url)
    if fault is None and not is_private_way(url):
        return "a token endpoint is reached over https only, except on this machine"
    return fault
