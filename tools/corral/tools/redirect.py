"""The end of a browser's way through an authorization: one request to this machine."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

__all__ = ["RedirectListener"]

_PATH: Final = "/callback"
_MAX_LINE: Final = 16 * 1024
_READ_TIME: Final = 10.0
_PAGE: Final = (
    b"<!doctype html><meta charset=utf-8><title>Corral</title><p>You can close this window and go back to the terminal."
)


class RedirectListener:
    """Listens on loopback while it is entered (RFC 8252 §7.3)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._answer: asyncio.Future[dict[str, str]] | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._answer = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_MAX_LINE)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{_PATH}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def wait(self) -> dict[str, str]:
        """The query with which the browser came back."""
        if self._answer is None:
            raise RuntimeError("the listener is not entered")
        return await self._answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_TIME)
            line = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
            target = urlsplit(line[1] if len(line) == 3 and line[0] == "GET" else "")
            found = target.path == _PATH and bool(target.query)
            status, page = (b"200 OK", _PAGE) if found else (b"404 Not Found", b"")
            writer.write(
                b"HTTP/1.1 " + status + b"\r\nContent-Type: text/html\r\nReferrer-Policy: no-referrer\r\n"
                b"Connection: close\r\nContent-Length: " + str(len(page)).encode() + b"\r\n\r\n" + page
            )
            await writer.drain()
            if found and self._answer is not None and not self._answer.done():
                self._answer.set_result(dict(parse_qsl(target.query)))
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whatever spoke to the port was no browser; go on waiting for one
        finally:
            writer.close()
