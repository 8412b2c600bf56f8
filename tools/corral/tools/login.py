"""What is known of one login, kept as a whole: the token and who renews it, at which server, with which key."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self, cast

from corral.tools.errors import TokenError
from corral.tools.server_metadata import AuthServer
from corral.tools.token import Token

__all__ = ["Login"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Login:
    """One login; nothing of it that is secret is shown by repr.

    Attributes:
        key: The private key that tokens are bound to (RFC 9449), as a JWK.
        server: Who renews the token.
        client: The client as it was registered (RFC 7591).
        resource: What the protected resource says of itself (RFC 9728).
    """

    token: Token | None = None
    key: dict[str, Any] | None = field(default=None, repr=False)
    server: AuthServer | None = None
    client: dict[str, Any] | None = field(default=None, repr=False)
    resource: dict[str, Any] | None = None

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen of it."""
        token, client = self.token, self.client or {}
        known: list[Any] = [client.get("client_secret"), (self.key or {}).get("d")]
        if token is not None:
            known += [token.access, token.refresh]
        return tuple(each for each in known if isinstance(each, str) and each)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "token": None if self.token is None else asdict(self.token),
            "key": self.key,
            "server": None if self.server is None else self.server.to_json(),
            "client": self.client,
            "resource": self.resource,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self | None:
        """The login in what was kept, also by an older Corral; None if there is none in it.

        Raises:
            TokenError: A newer Corral wrote it.
        """
        version = data.get("version", 0)
        if not isinstance(version, int) or version > _VERSION:
            raise TokenError("the token store", "a newer Corral wrote what is kept there; use that, or log in again")
        try:
            if version == 0:
                return cls._from_old(data)
            token = data.get("token")
            return cls(
                None if token is None else Token(**token),
                data.get("key"),
                AuthServer.from_json(data.get("server")),
                data.get("client"),
                data.get("resource"),
            )
        except (KeyError, TypeError):
            return None

    @classmethod
    def _from_old(cls, data: dict[str, Any]) -> Self:
        if "access" in data:
            return cls(Token(**data))
        tokens, client, resource = (_object(data[key]) for key in ("tokens", "client", "resource"))
        token = None
        if tokens is not None:
            expires_at = data.get("expires_at")
            token = Token(tokens["access_token"], tokens.get("refresh_token"), 0.0, expires_at, tokens.get("scope"))
        metadata = data.get("metadata")
        try:
            server = None if metadata is None else AuthServer.of_metadata(metadata, metadata["issuer"])
        except TokenError:
            server = None
        return cls(token, None, server, client, resource)


def _object(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
