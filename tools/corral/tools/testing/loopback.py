"""An OAuth authorization server and the API that it protects, on one port of this machine."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, urlsplit

from corral.tools.testing.consents import Consents
from corral.tools.testing.grants import Grants
from corral.tools.testing.herd import Herd
from corral.tools.testing.refusal import Refusal

__all__ = ["LoopbackOAuth"]

_MAX_BODY: Final = 1024 * 1024


class LoopbackOAuth:
    """A strict authorization server with an API behind it; standard library only.

    It gives tokens for client credentials, for codes of a browser (PKCE needed, consent at once) and of a device, and
    for refresh tokens, which rotate: one that is used a second time ends the session.

    It listens between `__enter__` and `__exit__` on a port that the system chooses, in a thread of its own.

        with LoopbackOAuth() as server:
            auth = OAuthClient(server.token_url, server.client_id, server.client_secret, scopes=["herd:read"])
            herd = HttpTools("herd", server.api_url, Endpoint("animals", "GET", "/animals"), auth=auth)

    Args:
        lifetime: Seconds that an access token is valid.
        scopes: What may be asked for.
        interval: Seconds between a device's questions.
        resources: What tokens may be asked for beside the API, such as an MCP server's URL.

    Attributes:
        client_secret: New for each server.
        public_id: A client without a secret, for what a person consents to.
        herd: What the API shows and changes; see `Herd` for its endpoints.
        requests: Each request so far, as "GET /api/animals 200", in the order in which they were answered.
    """

    def __init__(
        self,
        *,
        lifetime: float = 300.0,
        scopes: Iterable[str] = ("herd:read", "herd:write"),
        interval: float = 0.1,
        resources: Iterable[str] = (),
    ) -> None:
        self.client_id = "corral-demo"
        self.client_secret = secrets.token_urlsafe(24)
        self.public_id = "corral-native"
        self.herd = Herd()
        self._interval = interval
        self._resources = frozenset(resources)
        self.requests: list[str] = []
        self._scopes = frozenset(scopes)
        self._lifetime = lifetime
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        server = _Server(("127.0.0.1", 0), _Handler)
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._grants = Grants(
            self.client_id,
            self.client_secret,
            self._scopes,
            self._lifetime,
            self._resources | {self.api_url},
            self.public_id,
            Consents(self._interval),
        )
        server.url = self.url
        server.grants, server.herd, server.seen = self._grants, self.herd, self.requests
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="loopback oauth", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth/token"

    @property
    def authorize_url(self) -> str:
        return f"{self.url}/oauth/authorize"

    @property
    def device_url(self) -> str:
        return f"{self.url}/oauth/device"

    @property
    def api_url(self) -> str:
        """The base of the API; also the one `resource` that tokens are given for."""
        return f"{self.url}/api"

    @property
    def tokens_issued(self) -> int:
        return self._grants.issued

    def approve(self, user_code: str) -> None:
        """Consent to what a device asked for.

        Raises:
            LookupError: There is no such code.
        """
        self._grants.consents.approve(user_code)

    def revoke_all(self) -> None:
        """Make every access token given so far invalid; refresh tokens stay."""
        self._grants.revoke_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    grants: Grants
    herd: Herd
    url: str
    seen: list[str]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # answers in two small packets would wait 40 ms for an acknowledgement
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - as the standard library's own examples do
    timeout: ClassVar[float | None] = 30.0  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY:
            self.close_connection = True
            self._send(413, {"error": "too_large"})
            return
        body = self.rfile.read(length)
        try:
            status, value = self._answer(body)
            self._send(status, value)
        except Refusal as refusal:
            value = {"error": refusal.error, "error_description": refusal.description}
            self._send(refusal.status, value, refusal.headers)

    def _answer(self, body: bytes) -> tuple[int, Any]:
        url = urlsplit(self.path)
        authorization = self.headers.get("Authorization")
        match url.path:
            case "/oauth/token":
                return 200, self.server.grants.issue(authorization, self._form(body))
            case "/oauth/device":
                return 200, self.server.grants.begin_device(self._form(body), self.server.url)
            case "/.well-known/oauth-authorization-server":
                return 200, self._describe(self.server.url)
            case "/oauth/authorize":
                there = self.server.grants.authorize(parse_qs(url.query, keep_blank_values=True))
                raise Refusal(302, "found", "consented", {"Location": there})
            case _:
                pass
        if not url.path.startswith("/api/"):
            raise Refusal(404, "not_found", "there is nothing here")
        self.server.grants.check(authorization, Herd.scope_of(self.command))
        return self.server.herd.answer(self.command, url.path.removeprefix("/api"), parse_qs(url.query), body)

    def _describe(self, url: str) -> dict[str, object]:
        """The server's metadata (RFC 8414)."""
        return {
            "issuer": url,
            "authorization_endpoint": f"{url}/oauth/authorize",
            "token_endpoint": f"{url}/oauth/token",
            "device_authorization_endpoint": f"{url}/oauth/device",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        }

    def _form(self, body: bytes) -> dict[str, list[str]]:
        kind = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if self.command != "POST" or kind != "application/x-www-form-urlencoded":
            raise Refusal(400, "invalid_request", "expected a form sent by POST")
        return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.server.seen.append(f"{self.command} {self.path} {status}")
        self.send_response(status)
        for name, text in {"Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(name, text)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return  # a server in a test or a demo does not write to the terminal
