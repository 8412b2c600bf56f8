"""The way out: an HTTP proxy for sessions that may reach hosts, each connection judged and written down by the gate.

The proxy is in the process that holds the gate: no rule has to be told to another program, and nothing else decides.
h11 reads the requests. TLS goes through unopened; names are resolved here and nowhere else, once for a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import h11

from corral.policy import Action, Admission, BudgetExceeded, Denied
from corral.sandbox import folder as folders
from corral.sandbox.certificates import authorities
from corral.sandbox.destination import BadDestination, Destination, Refused, Resolver
from corral.sandbox.guest.egress import CERTIFICATES, SOCKET
from corral.sandbox.network import Network

__all__ = ["Egress"]

CHUNK = 64 * 1024
HEAD_LIMIT = 32 * 1024
MOST_CONNECTIONS = 64
PATIENCE = 10.0
"""Seconds for a request to come, and for a host to answer a call."""

HOP_BY_HOP = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"upgrade")
"""RFC 9110 §7.6.1: what is said to the proxy alone."""


class Egress:
    """Serves the sessions of one container. Made by `open`; `close` ends every connection."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._resolver = Resolver(network.resolve)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, network: Network, folder: Path | None) -> Self:
        """Listen in `folder`, which the container sees; None leaves it to `serve`."""
        self = cls(network)
        if folder is None:
            return self
        certificates = folder / CERTIFICATES
        certificates.write_bytes(authorities())
        certificates.chmod(0o644)
        listener = folders.listen(folder, SOCKET)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, backlog=1024)
        return self

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def serve(self, sock: socket.socket) -> None:
        """Serve one who has connected."""

        async def serve() -> None:
            await self._serve(*await asyncio.open_unix_connection(sock=sock))

        self._keep(asyncio.get_running_loop().create_task(serve()))

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await self._pass_on(reader, writer)
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                request, beyond = await _read_request(reader)
            destination = Destination.of(request)
        except (TimeoutError, h11.RemoteProtocolError, BadDestination) as error:
            await _answer(writer, 400, str(error) or "no request came")
            return
        if len(self._open) > MOST_CONNECTIONS:
            await _answer(writer, 503, f"more than {MOST_CONNECTIONS} connections at once")
            return
        try:
            far_reader, far_writer = await self._connect(destination)
        except (Denied, BudgetExceeded, Refused) as error:
            await _answer(writer, 403, str(error))
            return
        except OSError as error:
            await _answer(writer, 502, f"{destination} does not answer: {error.strerror or type(error).__name__}")
            return
        try:
            if request.method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                far_writer.write(beyond)
            else:
                far_writer.write(_rewritten(request, destination) + beyond)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()

    async def _connect(self, destination: Destination) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        network, resource = self._network, destination.resource

        async def effect(admission: Admission) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            admission.claim(resource, "connect")
            async with asyncio.timeout(PATIENCE):
                return await _first(await self._resolver.addresses(destination, network.names), destination.port)

        return await network.gate.perform(Action(resource, "connect", network.principal, network.user), effect)


async def _first(addresses: list[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one."""
    problem = OSError("no address")
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            problem = error
    raise problem


async def _read_request(reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
    """The head of a request, and what came after it."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    while (event := parser.next_event()) is h11.NEED_DATA:
        parser.receive_data(await reader.read(CHUNK))
    if not isinstance(event, h11.Request):
        raise h11.RemoteProtocolError("no request came")
    beyond, _ = parser.trailing_data
    return event, beyond


def _rewritten(request: h11.Request, destination: Destination) -> bytes:
    """The request's head as the host itself takes it; it is the only one on its connection."""
    headers = [(name, value) for name, value in request.headers if name not in HOP_BY_HOP]
    headers.append((b"connection", b"close"))
    sent = h11.Request(method=request.method, target=destination.path, headers=headers)
    return h11.Connection(h11.CLIENT).send(sent) or b""


async def _answer(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    # In the reason, because a client that asked for a tunnel reads no more of an answer than that.
    said = reason.encode("ascii", "replace").replace(b"\n", b" ").replace(b"\r", b" ")[:400]
    connection = h11.Connection(h11.SERVER)
    headers = [(b"content-length", b"%d" % len(said)), (b"connection", b"close")]
    for event in (h11.Response(status_code=status, reason=said, headers=headers), h11.Data(data=said)):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()
