"""The token endpoint of an authorization server, asked through authlib.

authlib's own client is used for that one request only: it does not renew on 401, and forgets scope and resource when it
fetches again (authlib 1.9.6).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from urllib.parse import quote_plus, urlsplit

from corral.tools.address import find_fault, is_loopback, is_private_way
from corral.tools.errors import TokenError
from corral.tools.secrets import hide_in_text
from corral.tools.token import Token

__all__ = ["ClientAuthMethod", "RefusedGrant", "TokenEndpoint", "find_fault_of_endpoint"]

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]
_MAX_WORDS: Final = 200


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
        scope: Asked for, with spaces between.
        resource: The API that the token is for (RFC 8707).
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    auth_method: ClientAuthMethod
    scope: str
    resource: str | None
    timeout: float

    @property
    def server(self) -> str:
        return urlsplit(self.url).netloc

    async def ask(self, grant_type: str, previous: Token | None = None, **form: str) -> Token:
        """The token for a grant.

        Args:
            previous: Whose refresh token stays in use if no other comes.

        Raises:
            RefusedGrant: The server refused.
            TokenError: It can't be asked, or did not answer like a token endpoint.
        """
        from authlib.integrations.base_client import OAuthError  # authlib and httpx2 are heavy
        from httpx2 import HTTPError

        fault = find_fault_of_endpoint(self.url)
        if fault is not None:
            raise TokenError("the token endpoint", fault)
        if self.resource:
            form["resource"] = self.resource
        form = {name: value for name, value in form.items() if value}
        try:
            async with self._client() as client:
                fetched = await asyncio.wait_for(
                    client.fetch_token(self.url, grant_type=grant_type, **form), self.timeout
                )
            return Token.from_response(dict(fetched), previous)
        except OAuthError as error:
            raise self._refused(error, form) from None
        except TimeoutError:
            raise TokenError(self.server, f"it did not answer within {self.timeout:g} s") from None
        except HTTPError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            problem = f"it answered HTTP {status}" if status else f"it can't be reached ({type(error).__name__})"
            raise TokenError(self.server, problem) from None
        except ValueError as error:
            raise TokenError(self.server, f"this is no token endpoint: {error}") from None

    async def post(self, url: str, **form: str) -> dict[str, Any]:
        """What another endpoint of the same server answers to the client, such as the one of RFC 8628 §3.1.

        Raises:
            TokenError: It can't be asked, or refused.
        """
        from httpx2 import HTTPError  # heavy

        try:
            async with self._client() as client:
                said = {name: value for name, value in {"client_id": self.client_id, **form}.items() if value}
                # Basic says who the client is; in the form, authlib would add the id a second time.
                auth = client.client_auth(self.auth_method) if self.auth_method == "client_secret_basic" else None
                if self.auth_method == "client_secret_post":
                    said["client_secret"] = self.client_secret
                response = await asyncio.wait_for(client.request("POST", url, data=said, auth=auth), self.timeout)
                answer = response.json()
        except (HTTPError, TimeoutError, ValueError) as error:
            raise TokenError(urlsplit(url).netloc, f"it can't be asked ({type(error).__name__})") from None
        if response.status_code != 200 or not isinstance(answer, dict):
            raise TokenError(urlsplit(url).netloc, f"it refused (HTTP {response.status_code})")
        return cast("dict[str, Any]", answer)

    def _client(self) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # heavy

        # RFC 6749 §2.3.1 has both parts form-encoded within HTTP Basic, which authlib 1.9.6 leaves out.
        encode = quote_plus if self.auth_method == "client_secret_basic" else str
        return AsyncOAuth2Client(
            client_id=encode(self.client_id),
            client_secret=encode(self.client_secret),
            token_endpoint_auth_method=self.auth_method,
            timeout=self.timeout,
            follow_redirects=False,
            trust_env=not is_loopback(urlsplit(self.url).hostname),
        )

    def _refused(self, error: Any, form: dict[str, str]) -> RefusedGrant:
        code = str(error.error)[:60]
        if code == "invalid_client":
            return RefusedGrant(self.server, "it refused the client's id or secret (invalid_client)", code)
        if code == "invalid_scope":
            return RefusedGrant(self.server, f"it refused the scopes {self.scope!r} (invalid_scope)", code)
        words = " ".join(str(error.description or "").split())[:_MAX_WORDS]
        problem = hide_in_text(
            f"it refused: {code}{': ' + words if words else ''}", (self.client_secret, *form.values())
        )
        return RefusedGrant(self.server, problem, code)


def find_fault_of_endpoint(url: str) -> str | None:
    """Why no secret may be sent there, or None."""
    fault = find_fault(url)
    if fault is None and not is_private_way(url):
        return "a token endpoint is reached over https only, except on this machine"
    return fault
