"""What a person consented to: codes in the hands of browsers and devices, and refresh tokens that rotate."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit

from corral.tools.testing.refusal import Refusal, Scopes

__all__ = ["Consents"]

_CODE_LIFE: Final = 60.0


@dataclass
class _Code:
    scopes: Scopes
    client_id: str
    redirect_uri: str = ""
    challenge: str = ""
    is_approved: bool = True
    expires: float = field(default_factory=lambda: time.monotonic() + _CODE_LIFE)


@dataclass
class _Family:
    """All refresh tokens that came of one consent; an old one shown again ends it (RFC 9700 §4.14.2)."""

    scopes: Scopes
    client_id: str
    current: str
    is_over: bool = False


@dataclass
class Consents:
    """Safe to use from many threads."""

    interval: float
    _codes: dict[str, _Code] = field(default_factory=dict[str, _Code], repr=False)
    _devices: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    _families: dict[str, _Family] = field(default_factory=dict[str, _Family], repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def authorize(self, query: Mapping[str, str], client_id: str, scopes: Scopes) -> str:
        """Where the browser is sent back to, at once: the person always consents.

        Raises:
            Refusal: The question is wrong; then nobody may be sent anywhere (RFC 6749 §4.1.2.1).
        """
        redirect = urlsplit(query.get("redirect_uri", ""))
        if redirect.scheme != "http" or redirect.hostname != "127.0.0.1":
            raise Refusal(400, "invalid_request", "the redirect is not to this machine")
        if query.get("response_type") != "code" or not query.get("state"):
            raise Refusal(400, "invalid_request", "expected response_type=code and a state")
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            raise Refusal(400, "invalid_request", "a code challenge is needed (S256)")
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._codes[code] = _Code(scopes, client_id, query["redirect_uri"], query["code_challenge"])
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def take_code(self, said: Mapping[str, str], client_id: str) -> Scopes:
        """What the code of a browser stands for; it can be used once.

        Raises:
            Refusal: It is unknown, used, or not for this client, redirect and verifier.
        """
        with self._lock:
            code = self._codes.pop(said.get("code", ""), None)
        digest = hashlib.sha256(said.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            code is None
            or (code.client_id, code.redirect_uri) != (client_id, said.get("redirect_uri"))
            or code.challenge != challenge
            or time.monotonic() > code.expires
        ):
            raise Refusal(400, "invalid_grant", "the code, its redirect or its verifier is wrong")
        return code.scopes

    def begin_device(self, client_id: str, scopes: Scopes, url: str) -> dict[str, object]:
        """The answer of the device authorization endpoint (RFC 8628 §3.2)."""
        code, user_code = secrets.token_urlsafe(24), secrets.token_hex(3).upper()
        with self._lock:
            self._codes[code] = _Code(scopes, client_id, is_approved=False)
            self._devices[user_code] = code
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": f"{url}/oauth/device",
            "expires_in": _CODE_LIFE,
            "interval": self.interval,
        }

    def approve(self, user_code: str) -> None:
        """Consent in the place of the person with the device's code.

        Raises:
            LookupError: There is no such code.
        """
        with self._lock:
            self._codes[self._devices.pop(user_code)].is_approved = True

    def take_device(self, said: Mapping[str, str], client_id: str) -> Scopes:
        """What a device's code stands for.

        Raises:
            Refusal: Nobody consented yet, or it is no such code.
        """
        with self._lock:
            code = self._codes.get(said.get("device_code", ""))
            if code is None or code.client_id != client_id or code.challenge:
                raise Refusal(400, "invalid_grant", "there is no such device code")
            if not code.is_approved:
                raise Refusal(400, "authorization_pending", "nobody consented yet")
            del self._codes[said["device_code"]]
            return code.scopes

    def start_family(self, scopes: Scopes, client_id: str) -> str:
        """A refresh token for a new consent."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._families[token] = _Family(scopes, client_id, token)
        return token

    def rotate(self, said: Mapping[str, str], client_id: str) -> tuple[Scopes, str]:
        """The scopes of a refresh token, and the one to be used next.

        Raises:
            Refusal: It is unknown, or was used before: then all of its consent is over.
        """
        shown = said.get("refresh_token", "")
        with self._lock:
            family = self._families.get(shown)
            if family is not None and family.current != shown:
                family.is_over = True
            if family is None or family.is_over or family.client_id != client_id:
                raise Refusal(400, "invalid_grant", "the refresh token is unknown or was used before")
            family.current = secrets.token_urlsafe(24)
            self._families[family.current] = family
            return family.scopes, family.current
