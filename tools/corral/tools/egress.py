"""Where requests may go: not to a cloud's metadata, and to private networks only where that was written down.

A host that is written as an address of this machine or network, or as localhost, was chosen by whoever wrote it. A name
that leads there was not: names are resolved once for each connection, looked at, and connected to by that address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from corral.policy.addresses import is_public
from corral.tools.address import is_loopback, is_metadata

__all__ = ["REFUSED", "find_fault_of_way", "goes_by_proxy", "guarded", "guarded_sync"]

REFUSED: Final = "refused: "
"""How the message of a `ConnectError` begins that stands for an address to which nothing may be sent."""


def guarded(library: Any, *, allow_private: bool) -> Any:
    """An async transport of `library`, httpx or httpx2, which connects only where requests may go."""

    class Guarded(library.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            host: str = request.url.host
            parent: Any = super()
            send: Any = parent.handle_async_request
            if _is_written_down(host):
                return await send(request)
            found = await asyncio.get_running_loop().run_in_executor(None, _resolve, host)
            failure: Any = None
            for address in _reachable(library, host, found, allow_private):
                try:
                    return await send(_pinned(library, request, address))
                except library.ConnectError as error:
                    failure = error
            raise failure or library.ConnectError(f"{host} has no address")

    return Guarded()


def guarded_sync(library: Any, *, allow_private: bool) -> Any:
    """The same, for a client that is not async."""

    class Guarded(library.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            host: str = request.url.host
            parent: Any = super()
            send: Any = parent.handle_request
            if _is_written_down(host):
                return send(request)
            address = next(iter(_reachable(library, host, _resolve(host), allow_private)), None)
            if address is None:
                raise library.ConnectError(f"{host} has no address")
            return send(_pinned(library, request, address))

    return Guarded()


def goes_by_proxy(url: str) -> bool:
    """Whether the environment names a proxy for it: that resolves names itself, and decides where it goes."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return not is_loopback(host) and parts.scheme in getproxies() and not proxy_bypass(host)


async def find_fault_of_way(host: str, *, allow_private: bool) -> str | None:
    """Why nothing may be sent to `host`, or None; also None where its name can't be resolved."""
    if _is_written_down(host):
        return None
    found = await asyncio.get_running_loop().run_in_executor(None, _resolve, host)
    faults = [_find_fault(address, allow_private) for address in found]
    return f"{host} leads to {found[0]}, {faults[0]}" if faults and all(faults) else None


def _reachable(library: Any, host: str, found: list[str], allow_private: bool) -> list[str]:
    allowed = [address for address in found if _find_fault(address, allow_private) is None]
    if found and not allowed:
        raise library.ConnectError(f"{REFUSED}{host} leads to {found[0]}, {_find_fault(found[0], allow_private)}")
    return allowed


def _is_written_down(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return is_loopback(host)
    return True


def _find_fault(text: str, allow_private: bool) -> str | None:
    if is_metadata(text):
        return "where clouds keep the credentials of machines"
    if not allow_private and not is_public(text):
        return "which is inside this machine or network; allow_private lets it be used"
    return None


def _resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _pinned(library: Any, request: Any, address: str) -> Any:
    """The request, to be sent to that address; the server still sees the name, and TLS proves it."""
    return library.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
