"""What an API says when it refuses a token: which token would do (RFC 6750 §3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from corral.tools.dpop import Proofs

__all__ = ["Challenge", "Challenged", "Proving"]

_FORBIDDEN: Final = 403
_UNAUTHORIZED: Final = 401
_MAX_HEADER: Final = 8192
_PARAMETER: Final = re.compile(r'(?:^|[\s,])([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A refusal that another token may better.

    Attributes:
        status: 401, or 403 for a token whose scopes don't suffice.
        scope: What is needed, if it said.
        resource_metadata: Where the API says who gives its tokens (RFC 9728 §5.1).
        protocol: The version of MCP that the request was made in, if it said one.
    """

    status: int
    error: str | None = None
    scope: str | None = None
    resource_metadata: str | None = None
    protocol: str | None = None

    @classmethod
    def read(cls, response: Any, request: Any) -> Self | None:
        """The challenge in a response; None if it is no refusal of this kind."""
        if response.status_code not in (_UNAUTHORIZED, _FORBIDDEN):
            return None
        text = response.headers.get("WWW-Authenticate", "")[:_MAX_HEADER]
        found = {name.lower(): quoted or bare for name, quoted, bare in reversed(_PARAMETER.findall(text))}
        if response.status_code == _FORBIDDEN and found.get("error") != "insufficient_scope":
            return None
        return cls(
            response.status_code,
            found.get("error"),
            found.get("scope"),
            found.get("resource_metadata"),
            request.headers.get("mcp-protocol-version"),
        )


@runtime_checkable
class Challenged(Protocol):
    """A token source that answers challenges itself."""

    async def challenged(self, challenge: Challenge, used: str, round: int) -> str | None:
        """Another token than `used`, or None if there is no better.

        Args:
            used: The token that was refused; empty if the request had none.
            round: How many challenges of the same request were answered before.

        Raises:
            TokenError: None can be had.
        """
        ...


@runtime_checkable
class Proving(Protocol):
    """A token source whose tokens may be bound to a key."""

    @property
    def proofs(self) -> Proofs | None: ...
