"""An access token, as a token endpoint gave it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Token"]

_AHEAD: Final = 30.0
"""Seconds before its end at which a token is renewed; for a short-lived one, the last fifth of its life."""
_MARGIN: Final = 2.0
"""Seconds that a request may be under way; a token that ends sooner is of no use for it."""
_LONGEST: Final = 10 * 365 * 86400.0
_KINDS: Final = {"bearer": "Bearer", "dpop": "DPoP"}


@dataclass(frozen=True, slots=True)
class Token:
    """One access token and what renews it; neither is shown by repr.

    Attributes:
        refresh: The refresh token, if one was given.
        obtained_at: Seconds of the epoch.
        expires_at: The same; None if the server did not say.
        kind: "Bearer", or "DPoP" for one that is bound to a key.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    obtained_at: float = 0.0
    expires_at: float | None = None
    scope: str | None = None
    kind: str = "Bearer"

    @classmethod
    def from_response(cls, response: dict[str, Any], previous: Token | None = None) -> Token:
        """The token in a token endpoint's answer (RFC 6749 §5.1); a refresh token not sent again stays the old one.

        Raises:
            ValueError: There is no token of a known type in it; the message has no secret.
        """
        access, kind = response.get("access_token"), response.get("token_type", "bearer")
        if not isinstance(access, str) or not access or not access.isascii() or not access.isprintable():
            raise ValueError("its answer has no access token")
        known = _KINDS.get(str(kind).lower())
        if known is None:
            raise ValueError(f"it gave a token of type {str(kind)[:40]!r}, which can't be used")
        now = time.time()
        refresh, scope = response.get("refresh_token"), response.get("scope")
        if not isinstance(refresh, str) or not refresh:
            refresh = previous.refresh if previous is not None else None
        if not isinstance(scope, str):
            scope = previous.scope if previous is not None else None  # RFC 6749 §6
        return cls(access, refresh, now, _expiry(response.get("expires_in"), now), scope, known)

    @property
    def is_fresh(self) -> bool:
        """It need not be renewed yet."""
        if self.expires_at is None:
            return True
        lifetime = self.expires_at - self.obtained_at
        return time.time() < self.expires_at - min(_AHEAD, lifetime / 5)

    @property
    def is_usable(self) -> bool:
        """A request sent now would arrive with a valid token."""
        if self.expires_at is None:
            return True
        return time.time() < self.expires_at - min(_MARGIN, (self.expires_at - self.obtained_at) / 10)


def _expiry(seconds: Any, now: float) -> float | None:
    try:
        left = float(seconds)
    except (TypeError, ValueError, OverflowError):
        return None
    return now + min(max(0.0, left), _LONGEST) if math.isfinite(left) else None
