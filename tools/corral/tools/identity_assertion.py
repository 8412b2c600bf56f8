"""A company's identity provider vouches for a person at another server, and nobody is asked (SEP-990)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio.to_thread
from pydantic import SecretStr

from corral.tools.client_identity import ClientIdentity
from corral.tools.errors import TokenError
from corral.tools.server_metadata import AuthServer
from corral.tools.token import Token
from corral.tools.token_endpoint import TokenEndpoint

__all__ = ["IdentityAssertion"]

_KIND: Final = "urn:ietf:params:oauth:grant-type:"
_TYPE: Final = "urn:ietf:params:oauth:token-type:"


@dataclass(frozen=True, slots=True)
class IdentityAssertion:
    """The token of a login at the company becomes one for this server (RFC 8693), and that becomes ours (RFC 7523).

    Attributes:
        token_url: Of the company's token endpoint.
        client_id: As the company knows the program; with a secret, if it has one.
        subject: Gives the person's ID token of the company.
    """

    token_url: str
    client_id: str
    subject: Callable[[], str] = field(repr=False)
    client_secret: SecretStr | None = field(default=None, repr=False)

    is_interactive = False

    async def first(self, endpoint: TokenEndpoint) -> Token:
        secret = "" if self.client_secret is None else self.client_secret.get_secret_value()
        client = ClientIdentity(self.client_id, secret, "client_secret_basic" if secret else "none")
        company = TokenEndpoint(AuthServer("", self.token_url), client, "", None, endpoint.timeout)
        answer = await company.post(
            self.token_url,
            grant_type=f"{_KIND}token-exchange",
            requested_token_type=f"{_TYPE}id-jag",
            subject_token=await anyio.to_thread.run_sync(self.subject),
            subject_token_type=f"{_TYPE}id_token",
            audience=endpoint.metadata.issuer,
            resource=endpoint.resource or "",
            scope=endpoint.scope,
        )
        assertion = answer.get("access_token")
        if answer.get("issued_token_type") != f"{_TYPE}id-jag" or not isinstance(assertion, str):
            raise TokenError(company.server, "it did not vouch for the person (no ID-JAG came)")
        return await endpoint.ask(f"{_KIND}jwt-bearer", assertion=assertion, scope=endpoint.scope)
