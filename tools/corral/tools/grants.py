"""The ways to a first token: for the program itself, or for a person who consents in a browser."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

import anyio
import anyio.to_thread

from corral.tools.address import find_fault, is_private_way
from corral.tools.errors import TokenError
from corral.tools.redirect import RedirectListener
from corral.tools.secrets import readable
from corral.tools.token import Token
from corral.tools.token_endpoint import RefusedGrant, TokenEndpoint

__all__ = ["AuthorizationCode", "ClientCredentials", "DeviceCode", "Grant", "JwtBearer", "TokenExchange"]

_LOGIN_TIME: Final = 300.0
_POLL: Final = 5.0  # RFC 8628 §3.2
_MAX_POLL: Final = 60.0
_KIND: Final = "urn:ietf:params:oauth:grant-type:"


class Grant(Protocol):
    """How a client comes to a token when it has none that can be renewed."""

    @property
    def is_interactive(self) -> bool:
        """A person must consent."""
        ...

    async def first(self, endpoint: TokenEndpoint) -> Token:
        """A new token.

        Raises:
            TokenError: None was given.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The program acts for itself (RFC 6749 §4.4)."""

    is_interactive = False

    async def first(self, endpoint: TokenEndpoint) -> Token:
        return await endpoint.ask("client_credentials", scope=endpoint.scope)


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """A token that another party gave stands for the consent (RFC 7523 §2.1), as a cluster's does for its programs.

    Attributes:
        assertion: Gives that token, such as `TokenFile`.
    """

    assertion: Callable[[], str] = field(repr=False)

    is_interactive = False

    async def first(self, endpoint: TokenEndpoint) -> Token:
        assertion = await anyio.to_thread.run_sync(self.assertion)
        return await endpoint.ask(f"{_KIND}jwt-bearer", assertion=assertion, scope=endpoint.scope)


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """A token that another party gave is exchanged for one of this server (RFC 8693).

    Attributes:
        subject: Gives the token to be exchanged, such as `TokenFile`.
        subject_type: What it is, as a URI of RFC 8693 §3.
        audience: Who the new one is for, where the server wants a name instead of a resource.
    """

    subject: Callable[[], str] = field(repr=False)
    subject_type: str = "urn:ietf:params:oauth:token-type:jwt"
    audience: str = ""

    is_interactive = False

    async def first(self, endpoint: TokenEndpoint) -> Token:
        subject = await anyio.to_thread.run_sync(self.subject)
        return await endpoint.ask(
            f"{_KIND}token-exchange",
            subject_token=subject,
            subject_token_type=self.subject_type,
            audience=self.audience,
            scope=endpoint.scope,
        )


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """A person consents in a browser, which comes back to this machine (RFC 6749 §4.1, RFC 7636, RFC 8252 §7.3).

    Attributes:
        authorize_url: Of the authorization endpoint; as the server's metadata says when None.
        show: Is given the URL to be opened; the system's browser when None.
        port: Of the redirect; any free one when 0.
        issuer: Must come back in the redirect (RFC 9207); when None, what the server's metadata says holds.
    """

    authorize_url: str | None = None
    show: Callable[[str], object] | None = None
    port: int = 0
    issuer: str | None = None
    timeout: float = _LOGIN_TIME

    is_interactive = True

    async def first(self, endpoint: TokenEndpoint) -> Token:
        authorize_url = self.authorize_url or endpoint.metadata.authorize_url
        fault = "it has none" if authorize_url is None else find_fault(authorize_url)
        if authorize_url is None or fault is not None or not is_private_way(authorize_url):
            raise TokenError("the authorization endpoint", fault or "it is reached over https only")
        challenges = endpoint.metadata.challenges
        if challenges and "S256" not in challenges:  # many servers take it and don't say so
            said = readable(", ".join(challenges), 60)
            raise TokenError(
                endpoint.server, f"it takes codes with {said} only, which others could redeem (PKCE, S256)"
            )
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        async with RedirectListener(self.port) as listener:
            question = {
                "response_type": "code",
                "client_id": endpoint.client_id,
                "redirect_uri": listener.url,
                "state": state,
                "code_challenge": _challenge(verifier),
                "code_challenge_method": "S256",
                "scope": endpoint.scope,
                "resource": endpoint.resource or "",
                # OpenID Connect Core §11: without it, no refresh token is given for later.
                "prompt": "consent" if "offline_access" in endpoint.scope.split() else "",
            }
            separator = "&" if urlsplit(authorize_url).query else "?"
            url = authorize_url + separator + urlencode({key: value for key, value in question.items() if value})
            await anyio.to_thread.run_sync(self.show or webbrowser.open, url)
            answer = await self._wait(listener, endpoint.server)
            code = self._read(answer, state, endpoint)
            return await endpoint.ask(
                "authorization_code", code=code, redirect_uri=listener.url, code_verifier=verifier
            )

    async def _wait(self, listener: RedirectListener, server: str) -> dict[str, str]:
        with anyio.move_on_after(self.timeout):
            return await listener.wait()
        raise TokenError(server, f"nobody consented within {self.timeout:g} s")

    def _read(self, answer: dict[str, str], state: str, endpoint: TokenEndpoint) -> str:
        server = endpoint.server
        if not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
            raise TokenError(server, "the browser came back with the answer to another question (state)")
        must_say = self.issuer is not None or endpoint.metadata.sends_issuer
        issuer = self.issuer or endpoint.metadata.issuer
        if issuer and answer.get("iss", "" if must_say else issuer) != issuer:
            raise TokenError(server, "the answer is of another authorization server (iss)")
        if "code" not in answer:
            raise TokenError(server, f"consent was not given ({readable(answer.get('error', 'no code'), 60)})")
        return answer["code"]


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A person consents on any device, by a short code (RFC 8628).

    Attributes:
        device_url: Of the device authorization endpoint; as the server's metadata says when None.
        show: Is given the URL to be opened and the code to be typed there.
    """

    device_url: str | None
    show: Callable[[str, str], object]
    timeout: float = _LOGIN_TIME

    is_interactive = True

    async def first(self, endpoint: TokenEndpoint) -> Token:
        device_url = self.device_url or endpoint.metadata.device_url
        if device_url is None:
            raise TokenError(endpoint.server, "it has no logins by device; log in with a browser")
        answer = await endpoint.post(device_url, scope=endpoint.scope, resource=endpoint.resource or "")
        try:
            code, user_code = str(answer["device_code"]), str(answer["user_code"])
            url = str(answer.get("verification_uri_complete") or answer["verification_uri"])
            wait = min(_MAX_POLL, max(0.0, float(answer.get("interval", _POLL))))
            life = float(answer.get("expires_in", self.timeout))
        except (KeyError, TypeError, ValueError):
            raise TokenError(endpoint.server, "this is no device authorization endpoint") from None
        self.show(url, user_code)
        with anyio.move_on_after(min(self.timeout, life)):
            while True:
                await anyio.sleep(wait)
                try:
                    return await endpoint.ask(f"{_KIND}device_code", device_code=code)
                except RefusedGrant as refusal:
                    if refusal.code == "slow_down":
                        wait += _POLL
                    elif refusal.code != "authorization_pending":
                        raise
        raise TokenError(endpoint.server, f"nobody consented within {min(self.timeout, life):g} s")


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
