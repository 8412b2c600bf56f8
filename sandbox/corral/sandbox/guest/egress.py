"""The way out of sessions that may reach hosts: a port of the loopback device that leads to the host's proxy.

Nothing is resolved and nothing decided here. The container has no network but that device.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

__all__ = ["CERTIFICATES", "SOCKET", "listen", "listen_on", "serve"]

SOCKET = "egress.sock"
"""Where the host's proxy listens, in the folder that has the guest's program."""

CERTIFICATES = "certificates.pem"
"""Authorities that the host trusts, in the same folder: a slim image has none."""

CHUNK = 64 * 1024
BACKLOG = 1024
"""Connections that may wait to be taken; a Unix socket refuses one more at once, and nobody could say why."""


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)


def listen_on(path: str) -> socket.socket:
    """A socket at `path` for everyone in the container."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(BACKLOG)
    return listener


def serve(listener: socket.socket, path: str) -> NoReturn:
    """Pass on what connects, until killed."""
    import asyncio  # here, because no other process of ours needs it

    async def run() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                host_reader, host_writer = await asyncio.open_unix_connection(path)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_pump(reader, host_writer), _pump(host_reader, writer))
            for each in (writer, host_writer):
                each.close()

        server = await asyncio.start_server(connected, sock=listener)
        await server.serve_forever()

    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.close()

    asyncio.run(run())
    raise SystemExit
