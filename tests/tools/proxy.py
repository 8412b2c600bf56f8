"""A real forward proxy on loopback, in a thread: it resolves names by a table of its own, as proxies do."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .serving import serving


@dataclass
class Proxy:
    """Leads all hosts of `leads`, such as "herd.invalid:80", to addresses such as "127.0.0.1:8000"; no others."""

    url: str
    leads: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def proxy(**leads: str) -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked.append(f"{self.command} {self.path}")
            parts = urlsplit(self.path)
            there = state.leads.get(f"{parts.hostname}:{parts.port or 80}")
            if there is None:
                self.send_error(502)
                return
            connection = http.client.HTTPConnection(there, timeout=5)
            target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            connection.request(self.command, target, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type", ""))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = forward

        def do_CONNECT(self) -> None:
            state.asked.append(f"CONNECT {self.path}")
            self.close_connection = True
            if self.path not in state.leads:
                self.send_error(502)
                return
            host, _, port = state.leads[self.path].partition(":")
            with socket.create_connection((host, int(port)), timeout=5) as there:
                self.send_response(200)
                self.end_headers()
                pipe(self.connection, there)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Proxy(f"http://127.0.0.1:{server.server_address[1]}", leads)
    with serving(server):
        yield state


def pipe(one: socket.socket, other: socket.socket) -> None:
    """Until either side ends, or nothing was said for 5 s."""
    to = {one: other, other: one}
    while ready := select.select([one, other], [], [], 5)[0]:
        for each in ready:
            if not (data := each.recv(65536)):
                return
            to[each].sendall(data)
