"""What an authorization server decides: who a client is, and which tokens it gets."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from corral.tools.testing.consents import Consents
from corral.tools.testing.refusal import Refusal, Scopes

__all__ = ["Grants"]

_REALM: Final = "corral loopback"


@dataclass
class Grants:
    """The tokens of two clients, and who may have more; safe to use from many threads.

    Attributes:
        public_id: A client without a secret, which gets tokens only by a person's consent.
        issued: How many tokens were given.
    """

    client_id: str
    client_secret: str
    scopes: Scopes
    lifetime: float
    resources: frozenset[str]
    public_id: str
    consents: Consents
    issued: int = 0
    _live: dict[str, tuple[float, Scopes]] = field(default_factory=dict[str, tuple[float, Scopes]], repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def issue(self, authorization: str | None, form: Mapping[str, list[str]]) -> dict[str, object]:
        """The answer to a token request; strict about each parameter.

        Raises:
            Refusal: Something is wrong with it.
        """
        said = self._read(form)
        client_id = self._authenticate(authorization, said)
        if "resource" in said and said["resource"] not in self.resources:
            raise Refusal(400, "invalid_target", "there is no such resource here")
        match said.get("grant_type"):
            case "client_credentials" if client_id == self.client_id:
                return self._give(self._scopes(said))
            case "authorization_code":
                scopes = self.consents.take_code(said, client_id)
                return self._give(scopes, self.consents.start_family(scopes, client_id))
            case "urn:ietf:params:oauth:grant-type:device_code":
                scopes = self.consents.take_device(said, client_id)
                return self._give(scopes, self.consents.start_family(scopes, client_id))
            case "refresh_token":
                return self._give(*self.consents.rotate(said, client_id))
            case _:
                raise Refusal(400, "unsupported_grant_type", "not for this client")

    def authorize(self, query: Mapping[str, list[str]]) -> str:
        """Where a browser is sent after the consent.

        Raises:
            Refusal: Something is wrong with the question.
        """
        said = self._read(query)
        self._know(said.get("client_id", ""))
        return self.consents.authorize(said, said["client_id"], self._scopes(said))

    def begin_device(self, form: Mapping[str, list[str]], url: str) -> dict[str, object]:
        """The codes of a device.

        Raises:
            Refusal: Something is wrong with the question.
        """
        said = self._read(form)
        self._know(said.get("client_id", ""))
        return self.consents.begin_device(said["client_id"], self._scopes(said), url)

    def check(self, authorization: str | None, scope: str) -> None:
        """Let a request with a live token of this scope pass.

        Raises:
            Refusal: 401 without such a token, 403 with one that lacks the scope; both say what would do.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(
                401, "unauthorized", "a bearer token is needed", {"WWW-Authenticate": f'Bearer realm="{_REALM}"'}
            )
        with self._lock:
            expires, scopes = self._live.get(token, (0.0, frozenset()))
        if time.monotonic() >= expires:
            raise _challenge(401, "invalid_token", "the token is unknown or has expired")
        if scope not in scopes:
            raise _challenge(403, "insufficient_scope", "the token's scopes do not cover this", scope)

    def revoke_all(self) -> None:
        """Make every token given so far invalid."""
        with self._lock:
            self._live.clear()

    def _read(self, form: Mapping[str, list[str]]) -> dict[str, str]:
        repeated = [name for name, values in form.items() if len(values) > 1]
        if repeated:
            raise Refusal(400, "invalid_request", f"{repeated[0]} is given more than once")
        return {name: values[0] for name, values in form.items()}

    def _scopes(self, said: Mapping[str, str]) -> Scopes:
        wanted = frozenset(said["scope"].split(" ")) if said.get("scope") else self.scopes
        if not wanted <= self.scopes:
            raise Refusal(400, "invalid_scope", f"known are {' '.join(sorted(self.scopes))}")
        return wanted

    def _know(self, client_id: str) -> None:
        if client_id not in (self.client_id, self.public_id):
            raise Refusal(400, "invalid_request", "unknown client")

    def _give(self, scopes: Scopes, refresh: str | None = None) -> dict[str, object]:
        token = secrets.token_urlsafe(24)
        with self._lock:
            self.issued += 1
            self._live[token] = (time.monotonic() + self.lifetime, scopes)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": " ".join(sorted(scopes)),
            **({} if refresh is None else {"refresh_token": refresh}),
        }

    def _authenticate(self, authorization: str | None, said: Mapping[str, str]) -> str:
        if authorization is None and said.get("client_id") == self.public_id and "client_secret" not in said:
            return self.public_id
        basic = _read_basic(authorization)
        posted = said.get("client_id", ""), said.get("client_secret", "")
        if basic is not None and "client_secret" in said:
            raise Refusal(400, "invalid_request", "the client authenticates in two ways")
        client_id, secret = posted if basic is None else basic
        same_id = hmac.compare_digest(client_id.encode(), self.client_id.encode())
        if not (hmac.compare_digest(secret.encode(), self.client_secret.encode()) and same_id):
            raise Refusal(
                401, "invalid_client", "unknown client or wrong secret", {"WWW-Authenticate": f'Basic realm="{_REALM}"'}
            )
        return client_id


def _read_basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, code = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(code, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


def _challenge(status: int, error: str, description: str, scope: str | None = None) -> Refusal:
    words = f'Bearer realm="{_REALM}", error="{error}", error_description="{description}"'
    return Refusal(status, error, description, {"WWW-Authenticate": words + (f', scope="{scope}"' if scope else "")})
