"""From an issuer's name to its endpoints."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import urlsplit

from corral.tools.address import find_fault, is_private_way, show_url
from corral.tools.errors import TokenError, ToolConfigError
from corral.tools.server_metadata import AuthServer

__all__ = ["discover_server", "find_fault_of_issuer"]

_TIME: Final = 15.0


def find_fault_of_issuer(issuer: str) -> str | None:
    """Why nobody may be asked there, or None."""
    fault = find_fault(issuer)
    if fault is None and not is_private_way(issuer):
        return "an authorization server is reached over https only, except on this machine"
    return fault


async def discover_server(issuer: str, *, timeout: float = _TIME, allow_private: bool = True) -> AuthServer:
    """The authorization server's endpoints, from the places where RFC 8414 and OpenID Connect have them.

    Args:
        allow_private: The issuer's name may lead into this machine or network: whoever wrote it is one of us.

    Raises:
        ToolConfigError: `issuer` is no URL that may be asked.
        TokenError: There is no metadata, or it is that of another issuer.
    """
    from corral.tools.oauth_http import send_json  # httpx2 is heavy

    fault = find_fault_of_issuer(issuer)
    if fault is not None:
        raise ToolConfigError(f"issuer {show_url(issuer)}", fault)
    seen: list[int] = []
    for url in _places(issuer):
        status, data = await send_json(url, timeout, allow_private=allow_private)
        if status == 200 and isinstance(data, dict):
            return AuthServer.of_metadata(cast("dict[str, Any]", data), issuer)
        seen.append(status)
        if status >= 500:
            break
    raise TokenError(show_url(issuer), f"it has no metadata of an authorization server (HTTP {seen[-1]})")


def _places(issuer: str) -> list[str]:
    parts = urlsplit(issuer)
    host, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = [
        f"{host}/.well-known/oauth-authorization-server{path}",
        f"{host}/.well-known/openid-configuration{path}",
        f"{host}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(places))
