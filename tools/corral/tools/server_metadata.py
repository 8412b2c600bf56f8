"""What an authorization server says of itself (RFC 8414), as far as clients need it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from corral.tools.address import find_fault, is_private_way, show_url
from corral.tools.errors import TokenError

__all__ = ["AuthServer"]


@dataclass(frozen=True, slots=True)
class AuthServer:
    """An authorization server's endpoints.

    Attributes:
        sends_issuer: Says that it names itself in each redirect (RFC 9207).
        auth_methods: How clients may show who they are; empty if it does not say.
        takes_metadata_urls: A client may be a URL (CIMD).
        challenges: The ways of PKCE that it takes; empty if it does not say.
    """

    issuer: str
    token_url: str
    authorize_url: str | None = None
    device_url: str | None = None
    revoke_url: str | None = None
    register_url: str | None = None
    sends_issuer: bool = False
    auth_methods: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    takes_metadata_urls: bool = False
    challenges: tuple[str, ...] = ()

    @classmethod
    def of_metadata(cls, data: dict[str, Any], issuer: str) -> Self:
        """The server that `data` describes, which must be the one that was asked (RFC 8414 §3.3).

        Raises:
            TokenError: It is another's, or an endpoint is one to which no secret may be sent.
        """
        said = data.get("issuer")
        if not isinstance(said, str) or not _is_same(said, issuer):
            words = show_url(said)[:200] if isinstance(said, str) else "nobody"
            raise TokenError(show_url(issuer), f"its metadata is that of another issuer, {words}")
        token_url = _url(data, "token_endpoint", issuer)
        if token_url is None:
            raise TokenError(show_url(issuer), "its metadata names no token endpoint")
        return cls(
            issuer=said,
            token_url=token_url,
            authorize_url=_url(data, "authorization_endpoint", issuer),
            device_url=_url(data, "device_authorization_endpoint", issuer),
            revoke_url=_url(data, "revocation_endpoint", issuer),
            register_url=_url(data, "registration_endpoint", issuer),
            sends_issuer=data.get("authorization_response_iss_parameter_supported") is True,
            auth_methods=_words(data, "token_endpoint_auth_methods_supported"),
            scopes=_words(data, "scopes_supported"),
            takes_metadata_urls=data.get("client_id_metadata_document_supported") is True,
            challenges=_words(data, "code_challenge_methods_supported"),
        )

    @classmethod
    def from_json(cls, data: Any) -> Self | None:
        """As it was kept; None for anything else."""
        try:
            given: Any = {**data, "auth_methods": tuple(data["auth_methods"]), "scopes": tuple(data["scopes"])}
            given["challenges"] = tuple(data.get("challenges", ()))  # not kept before
            return cls(**given)
        except (KeyError, TypeError):
            return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _is_same(said: str, issuer: str) -> bool:
    """By letters (RFC 8414 §3.3); a host alone is the same with and without a slash."""
    return said == issuer or (said.rstrip("/") == issuer.rstrip("/") and issuer.rstrip("/").count("/") == 2)


def _url(data: dict[str, Any], key: str, issuer: str) -> str | None:
    url = data.get(key)
    if url is None:
        return None
    fault = find_fault(url) if isinstance(url, str) else "it is no URL"
    if fault is None and not is_private_way(url):
        fault = "secrets are sent over https only, except to this machine"
    if fault is not None:
        raise TokenError(show_url(issuer), f"its {key.replace('_', ' ')} can't be used: {fault}")
    return url


def _words(data: dict[str, Any], key: str) -> tuple[str, ...]:
    said = data.get(key)
    return tuple(each for each in cast("list[Any]", said) if isinstance(each, str)) if isinstance(said, list) else ()
