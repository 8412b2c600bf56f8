"""Proofs that whoever shows a token also holds a key (DPoP, RFC 9449); imported late, as joserfc is heavy."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey

from corral.tools.address import origin, show_url
from corral.tools.clock import ServerClock

__all__ = ["Proofs", "make_key"]

_ALGORITHM: Final = "ES256"


def make_key() -> dict[str, Any]:
    """A new private key, as a JWK."""
    return dict(ECKey.generate_key("P-256").as_dict(private=True))


class Proofs:
    """Proves with each request that the key is held; knows the nonces that servers asked for."""

    def __init__(self, key: Mapping[str, Any], clock: ServerClock) -> None:
        self.key = dict(key)
        self._key = ECKey.import_key(dict(key))
        self._clock = clock
        self._nonces: dict[tuple[str, str, int], str] = {}

    def prove(self, method: str, url: str, token: str | None = None) -> str:
        """The value of the header `DPoP` for one request, with the access token that is in it, if one is."""
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": show_url(url),
            "iat": int(self._clock.now()),
        }
        if token is not None:
            claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        if (nonce := self._nonces.get(origin(url))) is not None:
            claims["nonce"] = nonce
        header = {"typ": "dpop+jwt", "alg": _ALGORITHM, "jwk": self._key.as_dict(private=False)}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Keep the nonce of a response (RFC 9449 §8); whether there was one that is new."""
        nonce = headers.get("dpop-nonce")
        if nonce is None or nonce == self._nonces.get(origin(url)):
            return False
        self._nonces[origin(url)] = nonce
        return True
