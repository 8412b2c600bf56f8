"""A real server on loopback that does on each path what it is told to, such as answering without an end."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Hostile(ThreadingHTTPServer):
    """Does on each path what it is told to."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *, bind_and_activate: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate)
        self.behaviour: dict[str, Behaviour] = {}
        self.requests: list[str] = []
        self.bodies: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hostile

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        with suppress(BrokenPipeError, ConnectionResetError):
            self.server.behaviour.get(path, answer(404, {}))(self)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        return


def answer(status: int, value: Any, **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        handler.send_response(status)
        for name, text in {"Content_Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def endless(status: int = 200, pause: float = 0.02, chunk: bytes = b" ", **headers: str) -> Behaviour:
    """A body that goes on until the reader leaves, or ten seconds."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, text in {"Content_Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.end_headers()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            handler.wfile.write(chunk)
            time.sleep(pause)

    return behave


BOMB = gzip.compress(b" " * 16 * 1024 * 1024)


def zipped(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(BOMB)))
    handler.end_headers()
    handler.wfile.write(BOMB)
