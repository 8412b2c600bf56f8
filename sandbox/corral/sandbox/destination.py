"""Where a session wants to connect to: parsed once, resolved once, and refused where it leads into private ranges."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from corral.policy.addresses import Undecidable, host_of, is_public

if TYPE_CHECKING:
    import h11

__all__ = ["BadDestination", "Destination", "Refused", "Resolve", "Resolver", "resolve"]

Resolve = Callable[[str], Awaitable[list[str]]]
"""The addresses of a name; raises OSError."""


class BadDestination(Exception):
    """A request names no host and port that everyone would read the same."""


class Refused(Exception):
    """A name leads where no rule leads by that address."""


@dataclass(frozen=True)
class Destination:
    """A host and a port as rules name them; `path` is what a plain http request wants of it."""

    host: str
    port: int
    path: bytes = b"/"

    @classmethod
    def of(cls, request: h11.Request) -> Destination:
        """What a request to a proxy names: CONNECT host:port, or METHOD http://host:port/path.

        Raises:
            BadDestination: Neither.
        """
        target = request.target.decode("ascii", "replace")
        tunnel = request.method == b"CONNECT"
        url = f"http://{target}/" if tunnel else target
        try:
            host, parts = host_of(url), urlsplit(url)
        except Undecidable as error:
            raise BadDestination(str(error)) from None
        if parts.scheme != "http" or (tunnel and (parts.port is None or parts.path != "/" or parts.query)):
            raise BadDestination("a proxy takes CONNECT host:port, or http://host/path")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(host, 80 if parts.port is None else parts.port, path.encode("ascii", "replace") or b"/")

    @property
    def resource(self) -> str:
        return f"net:{self}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Resolver:
    """Addresses of names, each asked for once: a name that leads elsewhere later is of no use to anyone.

    Args:
        resolve: Asks for them.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._pinned: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, destination: Destination, named: Collection[str]) -> list[str]:
        """Where to connect.

        Args:
            named: Resources that rules name as they stand; only they may be in private ranges.

        Raises:
            Refused: None of its addresses may be reached.
            OSError: The name has none.
        """
        found = await self._addresses(destination.host)
        open_ones = [each for each in found if is_public(each) or _names(named, each, destination)]
        if not open_ones:
            raise Refused(
                f"{destination} is at {', '.join(found)}, which is no public address and is named by no rule "
                f"({Destination(found[0], destination.port).resource})"
            )
        return open_ones

    async def _addresses(self, host: str) -> list[str]:
        if _is_address(host):
            return [host]
        if host not in self._pinned:
            self._pinned[host] = asyncio.ensure_future(self._resolve(host))
        try:
            found = await asyncio.shield(self._pinned[host])
        except OSError:
            self._pinned.pop(host, None)
            raise
        if not found:
            raise OSError(f"{host} has no address")
        return found


async def resolve(host: str) -> list[str]:
    """Ask the system."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _names(named: Collection[str], address: str, destination: Destination) -> bool:
    if Destination(address, destination.port).resource in named:
        return True
    # RFC 6761 §6.3: nobody's name server is asked for it.
    return (
        destination.host == "localhost" and ipaddress.ip_address(address).is_loopback and destination.resource in named
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
