"""From an MCP server to its authorization server (RFC 9728), as MCP's specification has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

from corral.tools.address import find_fault, is_inside, is_private_way, origin, show_url
from corral.tools.challenge import Challenge
from corral.tools.discovery import discover_server
from corral.tools.errors import TokenError
from corral.tools.oauth_http import send_json
from corral.tools.server_metadata import AuthServer

__all__ = ["Resource", "find_resource", "find_server", "wanted_scopes"]

_TIME: Final = 15.0
_BUSY: Final = 429


@dataclass(frozen=True, slots=True)
class Resource:
    """What a server says of itself.

    Attributes:
        name: What tokens are asked for (RFC 8707).
        issuer: Of its authorization server.
        scopes: That it knows; None if it does not say.
        wants_dpop: It takes tokens only that are bound to a key.
    """

    name: str
    issuer: str
    scopes: tuple[str, ...] | None = None
    wants_dpop: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any], server: str) -> Resource | None:
        """The resource that metadata describes; None if it is no such metadata.

        Raises:
            TokenError: It is another resource than `server`, or leads to where nobody should be led.
        """
        name, issuers, scopes = (data.get(key) for key in ("resource", "authorization_servers", "scopes_supported"))
        first = cast("list[Any]", issuers)[0] if isinstance(issuers, list) and issuers else None
        if not isinstance(name, str) or not isinstance(first, str):
            return None
        if not _covers(name, server):
            raise TokenError(
                urlsplit(server).netloc, f"its metadata is that of another resource, {show_url(name)[:200]}"
            )
        fault = _find_fault(server, first)
        if fault is not None:
            problem = f"it leads to the authorization server {show_url(first)[:200]}, which is not asked: {fault}"
            raise TokenError(urlsplit(server).netloc, problem)
        known = None if not isinstance(scopes, list) else tuple(str(each) for each in cast("list[Any]", scopes))
        return cls(name, first, known, data.get("dpop_bound_access_tokens_required") is True)


async def find_resource(
    server: str, challenge: Challenge, *, allow_private: bool = False
) -> tuple[Resource | None, dict[str, Any] | None]:
    """What the server says of itself, and as it said it; None if it says nothing, as before MCP 2025-06-18.

    Args:
        allow_private: Names that it leads to may lead into this machine or network.

    Raises:
        TokenError: It can't be asked, or says what can't be.
    """
    refused: int | None = None
    for url in _places(server, challenge.resource_metadata):
        if (fault := _find_fault(server, url)) is not None:
            raise TokenError(
                urlsplit(server).netloc, f"its metadata at {show_url(url)[:200]} is not asked for: {fault}"
            )
        status, data = await send_json(url, _TIME, allow_private=allow_private)
        if status >= 500 or status == _BUSY:
            refused = status
        if status == 200 and isinstance(data, dict):
            resource = Resource.from_json(cast("dict[str, Any]", data), server)
            if resource is not None:
                return resource, cast("dict[str, Any]", data)
    if refused is not None:
        # An error says nothing about whether there is metadata: it may not lead to the old ways.
        raise TokenError(urlsplit(server).netloc, f"its metadata can't be had (HTTP {refused})")
    return None, None


async def find_server(server: str, resource: Resource | None, *, allow_private: bool = False) -> AuthServer:
    """The authorization server's endpoints; without metadata of the resource, those at the MCP server's own host.

    Raises:
        TokenError: There are none.
    """
    if resource is not None:
        return await discover_server(resource.issuer, allow_private=allow_private)
    parts = urlsplit(server)
    host = f"{parts.scheme}://{parts.netloc}"
    status, data = await send_json(f"{host}/.well-known/oauth-authorization-server", _TIME, allow_private=allow_private)
    if status == 200 and isinstance(data, dict):
        return AuthServer.of_metadata(cast("dict[str, Any]", data), host)
    if status >= 500:
        raise TokenError(parts.netloc, f"it has no metadata of an authorization server (HTTP {status})")
    # The defaults of MCP 2025-03-26.
    return AuthServer("", f"{host}/token", f"{host}/authorize", register_url=f"{host}/register")


def wanted_scopes(challenge: Challenge, resource: Resource | None, server: AuthServer, *, person: bool) -> str:
    """What to ask for: what the refusal named, else what the resource knows, else what the server does.

    Args:
        person: Somebody consents, whose login shall be renewed later.
    """
    if challenge.scope is not None:
        scopes = challenge.scope.split()
    elif resource is not None and resource.scopes is not None:
        scopes = list(resource.scopes)
    else:
        scopes = list(server.scopes)
    if scopes and "offline_access" in server.scopes:
        scopes.append("offline_access")  # SEP-2207: or nothing could be renewed
    if not person:
        scopes = [each for each in scopes if each != "offline_access"]
    return " ".join(dict.fromkeys(scopes))


def _places(server: str, named: str | None) -> list[str]:
    parts = urlsplit(server)
    host = f"{parts.scheme}://{parts.netloc}"
    path = parts.path if parts.path != "/" else ""
    places = [named or "", f"{host}/.well-known/oauth-protected-resource{path}"]
    return list(dict.fromkeys(each for each in (*places, f"{host}/.well-known/oauth-protected-resource") if each))


def _covers(resource: str, server: str) -> bool:
    """Whether `server` is the resource or below it."""
    if find_fault(resource) is not None or origin(resource) != origin(server):
        return False
    above, below = (urlsplit(url).path.rstrip("/") + "/" for url in (resource, server))
    return below.startswith(above)


def _find_fault(server: str, url: str) -> str | None:
    """Why a server may not lead us to `url`: a stranger must not make this machine ask its own services."""
    fault = find_fault(url)
    if fault is not None:
        return fault
    if not is_private_way(url):
        return "secrets are sent over https only, except to this machine"
    here, there = urlsplit(server).hostname, urlsplit(url).hostname
    if is_inside(there) and not is_inside(here):
        return "it is inside this network, and the server is not"
    return None
