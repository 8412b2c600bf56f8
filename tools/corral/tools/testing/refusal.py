"""How the loopback server says no."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Refusal", "Scopes"]

Scopes = frozenset[str]


class Refusal(Exception):
    """An error answer of the authorization server (RFC 6749 §5.2) or of the API (RFC 6750 §3.1)."""

    def __init__(self, status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, error, description)
        self.status = status
        self.error = error
        self.description = description
        self.headers = dict(headers or {})
