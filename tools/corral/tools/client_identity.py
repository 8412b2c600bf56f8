"""How a client shows an authorization server who it is: a secret, a signature, a token of where it runs, or nothing."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from pydantic import SecretStr

from corral.tools.clock import ServerClock
from corral.tools.errors import TokenError

if TYPE_CHECKING:
    from joserfc.jwk import Key

__all__ = ["Assertion", "ClientAuthMethod", "ClientIdentity", "PrivateKeyJwt", "TokenFile"]

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]

_LIFE: Final = 60
_MAX_TOKEN_BYTES: Final = 64 * 1024
_ALGORITHMS: Final = {"EC:P-256": "ES256", "EC:P-384": "ES384", "EC:P-521": "ES512", "OKP:Ed25519": "EdDSA"}


class Assertion(Protocol):
    """Makes a token that says who the client is (RFC 7521 §4.2)."""

    def __call__(self, client_id: str, audience: str, clock: ServerClock, /) -> str: ...


@dataclass(frozen=True, slots=True)
class PrivateKeyJwt:
    """A client that signs with a private key, whose public half the server knows (private_key_jwt, RFC 7523 §2.2).

    Attributes:
        key: PEM, or a JWK as JSON: RSA, EC or Ed25519.
        key_id: Told to the server (`kid`); the JWK's own when None.
        algorithm: Fits the key when None: RS256, ES256, ES384, ES512 or EdDSA.
        audience: Whom the assertion is for; the server's issuer when None, or its token endpoint if that is not known.
    """

    key: SecretStr
    key_id: str | None = None
    algorithm: str | None = None
    audience: str | None = None

    def __call__(self, client_id: str, audience: str, clock: ServerClock) -> str:
        from joserfc import jwt  # heavy
        from joserfc.errors import JoseError

        key = self._load()
        algorithm = self.algorithm or _ALGORITHMS.get(f"{key.key_type}:{key.as_dict().get('crv')}", "RS256")
        now = int(clock.now())
        claims: dict[str, Any] = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience or audience,
            "iat": now,
            "exp": now + _LIFE,
            "jti": secrets.token_urlsafe(16),
        }
        header: dict[str, Any] = {"alg": algorithm, "typ": "JWT"}
        if key_id := self.key_id or key.as_dict().get("kid"):
            header["kid"] = key_id
        try:
            return jwt.encode(header, claims, key, algorithms=[algorithm])
        except (JoseError, ValueError):
            raise TokenError("the OAuth client", f"its key can't sign with {algorithm}") from None

    def _load(self) -> Key:
        from joserfc.errors import JoseError
        from joserfc.jwk import import_key

        text = self.key.get_secret_value().strip()
        try:
            if text.startswith("{"):
                return import_key(json.loads(text))
            for kind in ("RSA", "EC", "OKP"):
                with suppress(JoseError, TypeError, ValueError):
                    return import_key(text, kind)
        except (JoseError, TypeError, ValueError, KeyError):
            pass
        raise TokenError("the OAuth client", "its private key is neither PEM nor a JWK")  # and the key is not shown


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The token that the place where a program runs keeps in a file: a cluster's, a cloud's (workload identity).

    It is read each time, as it is replaced before it ends. It stands for the client (`OAuthClient(assertion=...)`,
    RFC 7523 §2.2), or is what another token is given for (`JwtBearer`, `TokenExchange`, `ServerLogin(assertion=...)`).
    """

    path: str | os.PathLike[str]

    def __call__(self, *told: object) -> str:
        try:
            with Path(self.path).open("rb") as file:
                text = file.read(_MAX_TOKEN_BYTES + 1).decode("ascii").strip()
        except OSError as error:
            raise TokenError("the token file", f"{self.path} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
        if not text or len(text) > _MAX_TOKEN_BYTES or any(character.isspace() for character in text):
            raise TokenError("the token file", f"there is no token in {self.path}")
        return text


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A client of an authorization server; its secret is not shown by repr."""

    id: str
    secret: str = field(default="", repr=False)
    method: ClientAuthMethod = "none"
    assertion: Assertion | None = field(default=None, repr=False)
