"""Where requests may go: not to a cloud's metadata, and to private networks only where that was written down.

A host that is written as an address of this machine or network, or as localhost, was chosen by whoever wrote it. A name
that leads there was not: names are resolved once for each connection, looked at, and connected to by that address.

A proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) resolves names itself, and may find
others than are found here. What is found here is looked at all the same, and one address of it that is not allowed is
enough to refuse; a name that can't be resolved here is left to the proxy.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from corral.policy.addresses import is_public
from corral.tools.address import is_loopback, is_metadata
from corral.tools.errors import ToolConfigError

__all__ = ["REFUSED", "find_fault_of_way", "guarded", "guarded_sync"]

REFUSED: Final = "refused: "
"""How the message of a `ConnectError` begins that stands for an address to which nothing may be sent."""


_PATIENCE: Final = 3.0
"""Seconds to resolve a name that the proxy resolves as well: behind some, nobody else answers."""


def guarded(library: Any, url: str, *, allow_private: bool) -> Any:
    """An async transport of `library`, httpx or httpx2, to `url`, by the environment's proxy if it names one.

    It connects only where requests may go; elsewhere it raises a `ConnectError` that begins with `REFUSED`.

    Raises:
        ToolConfigError: The proxy can't be used.
    """
    proxy = _proxy_of(url)
    unknown: set[str] = set()

    class Guarded(library.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            host: str = request.url.host
            parent: Any = super()
            send: Any = parent.handle_async_request
            if _is_written_down(library, host) or host in unknown:
                return await send(request)
            if proxy is not None:
                found = await _look_up(host, _PATIENCE)
                if not found:
                    unknown.add(host)
                _refuse_any(library, host, found, allow_private)
                return await send(request)
            failure: Any = None
            for address in _reachable(library, host, await _look_up(host), allow_private):
                try:
                    return await send(_pinned(library, request, address))
                except library.ConnectError as error:
                    failure = error
            raise failure or library.ConnectError(f"{host} has no address")

    with _told(library, proxy):
        return Guarded(proxy=proxy)


def guarded_sync(library: Any, url: str, *, allow_private: bool) -> Any:
    """The same, for a client that is not async."""
    proxy = _proxy_of(url)

    class Guarded(library.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            host: str = request.url.host
            parent: Any = super()
            send: Any = parent.handle_request
            if _is_written_down(library, host):
                return send(request)
            found = _resolve(host)
            if proxy is not None:
                _refuse_any(library, host, found, allow_private)
                return send(request)
            address = next(iter(_reachable(library, host, found, allow_private)), None)
            if address is None:
                raise library.ConnectError(f"{host} has no address")
            return send(_pinned(library, request, address))

    with _told(library, proxy):
        return Guarded(proxy=proxy)


async def find_fault_of_way(url: str, *, allow_private: bool) -> str | None:
    """Why nothing may be sent to the host of `url`, or None; also None where its name can't be resolved."""
    host = urlsplit(url).hostname or ""
    if _is_literal(host):
        return None
    proxy = _proxy_of(url)
    found = await _look_up(host, None if proxy is None else _PATIENCE)
    faults = [(address, fault) for address in found if (fault := _find_fault(address, allow_private))]
    is_refused = bool(faults) and (proxy is not None or len(faults) == len(found))
    return f"{host} leads to {faults[0][0]}, {faults[0][1]}" if is_refused else None


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`; none can reach what is this machine's own loopback."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname):
        return None
    known = getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@contextmanager
def _told(library: Any, proxy: str | None) -> Generator[None]:
    try:
        yield
    except (ValueError, ImportError, library.InvalidURL) as error:
        if proxy is None:
            raise
        kind = proxy.partition("://")[0]
        why = "pip install 'httpx[socks]'" if isinstance(error, ImportError) else "correct its URL, or unset it"
        raise ToolConfigError("the environment's proxy", f"a {kind} proxy can't be used; {why}") from None


def _refuse_any(library: Any, host: str, found: list[str], allow_private: bool) -> None:
    """Refuse a name of which one address is not allowed: which of them the proxy will take, nobody knows."""
    for address in found:
        if (fault := _find_fault(address, allow_private)) is not None:
            raise library.ConnectError(f"{REFUSED}{host} leads to {address}, {fault}")


def _reachable(library: Any, host: str, found: list[str], allow_private: bool) -> list[str]:
    allowed = [address for address in found if _find_fault(address, allow_private) is None]
    if found and not allowed:
        raise library.ConnectError(f"{REFUSED}{host} leads to {found[0]}, {_find_fault(found[0], allow_private)}")
    return allowed


def _is_written_down(library: Any, host: str) -> bool:
    if is_metadata(host):
        raise library.ConnectError(f"{REFUSED}at {host} clouds keep the credentials of machines")
    return _is_literal(host)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return is_loopback(host)
    return True


async def _look_up(host: str, patience: float | None = None) -> list[str]:
    looking = asyncio.get_running_loop().run_in_executor(None, _resolve, host)
    try:
        return await asyncio.wait_for(looking, patience)
    except TimeoutError:
        return []


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
