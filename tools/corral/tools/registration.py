"""Registering a client at an authorization server that knows none of ours (RFC 7591)."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import urlsplit

from corral.tools.client_identity import ClientAuthMethod, ClientIdentity
from corral.tools.errors import TokenError
from corral.tools.oauth_http import send_json
from corral.tools.secrets import readable
from corral.tools.server_metadata import AuthServer

__all__ = ["choose_method", "identity_of", "may_ask_for", "register"]

_TIME: Final = 15.0
_METHODS: Final[tuple[ClientAuthMethod, ...]] = ("client_secret_basic", "client_secret_post", "none")


async def register(
    server: AuthServer, name: str, redirect: str, scope: str, grants: tuple[str, ...], *, allow_private: bool = True
) -> dict[str, Any]:
    """The client as the server registered it, bound to the server's issuer (SEP-2352).

    Raises:
        TokenError: It registers none, or one that can't be used.
    """
    where = urlsplit(server.token_url).netloc
    if server.register_url is None:
        problem = "it knows no client of ours and registers none; give the id of one that was registered beforehand"
        raise TokenError(where, problem)
    wanted: dict[str, Any] = {
        "client_name": name,
        "redirect_uris": [redirect],
        "grant_types": list(grants),
        "response_types": ["code"],
        "application_type": "native",
        "token_endpoint_auth_method": _method_for(server),
    }
    body = {key: value for key, value in (wanted | {"scope": scope}).items() if value}
    status, data = await send_json(server.register_url, _TIME, body=body, allow_private=allow_private)
    if status not in (200, 201) or not isinstance(data, dict):
        said = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        words = readable(f"{said.get('error', '')} {said.get('error_description', '')}", 200)
        raise TokenError(where, f"it registers no client (HTTP {status}{', ' + words if words else ''})")
    given = {key: value for key, value in cast("dict[str, Any]", data).items() if value not in (None, "")}
    if not isinstance(given.get("client_id"), str):
        raise TokenError(where, "it registered a client without an id")
    kept = {key: given[key] for key in ("client_id", "client_secret", "token_endpoint_auth_method") if key in given}
    client = kept | {"redirect_uris": [redirect], "issuer": server.issuer, "scope": scope}
    identity_of(client, where)
    return client


def may_ask_for(client: dict[str, Any], scope: str) -> bool:
    """Whether a client that was registered may ask for these scopes: some servers let it ask for no others."""
    return "scope" not in client or set(scope.split()) <= set(str(client["scope"]).split())


def identity_of(client: dict[str, Any], where: str) -> ClientIdentity:
    """A registered client as it shows who it is.

    Raises:
        TokenError: In a way that can't be done here.
    """
    secret = client.get("client_secret")
    method = client.get("token_endpoint_auth_method") or ("client_secret_basic" if secret else "none")
    if method not in _METHODS:
        raise TokenError(where, f"it registered a client for {str(method)[:40]!r}, which is not known here")
    if method != "none" and not isinstance(secret, str):
        raise TokenError(where, f"it registered a client that authenticates by {method}, and gave it no secret")
    return ClientIdentity(str(client["client_id"]), str(secret or ""), method)


def choose_method(server: AuthServer) -> ClientAuthMethod:
    """How a client with a secret shows it there."""
    if server.auth_methods and "client_secret_basic" not in server.auth_methods:
        return "client_secret_post" if "client_secret_post" in server.auth_methods else "client_secret_basic"
    return "client_secret_basic"


def _method_for(server: AuthServer) -> str:
    """What a program on a person's machine can keep: no secret, where the server agrees."""
    return "none" if "none" in server.auth_methods else ""
