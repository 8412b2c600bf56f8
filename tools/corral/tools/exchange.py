"""The HTTP client under MCP, whose failures are answers; imported late, as httpx2 is heavy.

The SDK's transport (mcp 2.3.0) ends the whole connection, with every call on it, when one request can't be sent, and
tells a bad status as "Server returned an error response". Here each becomes a JSON-RPC error that says what happened.
"""

from __future__ import annotations

import json
from typing import Any, Final

import anyio
import httpx2

from corral.tools.address import origin, show_url
from corral.tools.errors import TokenError

__all__ = ["Exchange"]

_FAILED: Final = -32000  # of the range that JSON-RPC 2.0 §5.1 leaves to implementations
_LEAVE_TIME: Final = 2.0
_CONNECT_TIME: Final = 10.0


class Exchange(httpx2.AsyncClient):
    """Sends MCP's messages to one server.

    Args:
        max_bytes: Of one JSON answer; a longer one fails its request.
    """

    def __init__(self, *, max_bytes: int, has_credentials: bool, **options: Any) -> None:
        super().__init__(timeout=httpx2.Timeout(None, connect=_CONNECT_TIME), **options)
        self._max_bytes = max_bytes
        self._has_credentials = has_credentials
        self.problem: str | None = None
        """What was wrong with the last message, in a sentence without its subject; None if nothing was."""
        self.unreachable = False
        """The last message did not arrive at all."""
        self.session_lost = False
        """The server does not know the session any more: it was restarted, perhaps."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "DELETE":
            return await self._leave(request, options)
        try:
            response = await super().send(request, **options)
            problem = await self._judge(request, response)
            self.unreachable = False
        except httpx2.HTTPError as error:
            response, problem = None, _explain(error, request)
            self.unreachable = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        except TokenError as error:
            response, problem = None, str(error)
        if request.method == "POST" or response is None:
            self.problem = problem
        if response is not None and (problem is None or request.method != "POST"):
            return response
        status = 503 if response is None else max(response.status_code, 400)
        if response is not None:
            await response.aclose()
        return _refusal(request, status, problem or "")

    async def _leave(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """End a session; a server that does not answer may not keep us."""
        with anyio.move_on_after(_LEAVE_TIME):
            try:
                return await super().send(request, **options)
            except (httpx2.HTTPError, TokenError):
                pass
        return httpx2.Response(200, request=request)

    async def _judge(self, request: httpx2.Request, response: httpx2.Response) -> str | None:
        """Why the response is no answer of an MCP server; reads a JSON body."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.next_request is not None:
            return _judge_redirect(request, response.next_request)
        if kind == "application/json":
            return await self._read(request, response)
        if response.is_error:
            return self._explain_status(request, response)
        if request.method == "POST" and kind.startswith("text/html"):
            return f"answered with a web page, not MCP; correct its url {show_url(str(request.url))}"
        return None

    async def _read(self, request: httpx2.Request, response: httpx2.Response) -> str | None:
        parts: list[bytes] = []
        length = 0
        async for chunk in response.aiter_bytes():
            length += len(chunk)
            if length > self._max_bytes:
                return f"answered with more than {self._max_bytes / 1024**2:g} MiB, which was dropped"
            parts.append(chunk)
        content = b"".join(parts)
        response._content = content  # pyright: ignore[reportPrivateUsage] - as its own aread does
        is_message = b'"jsonrpc"' in content
        if response.is_error:
            # The server's own JSON-RPC error says more than the status; where a token is wanted, it does not.
            lost = response.status_code == 404 and "mcp-session-id" in request.headers
            if lost or not is_message or response.status_code in (401, 403):
                return self._explain_status(request, response)
        if not is_message and content.strip() and response.status_code != 202 and response.is_success:
            return f"answered with JSON that is no MCP message; correct its url {show_url(str(request.url))}"
        return None

    def _explain_status(self, request: httpx2.Request, response: httpx2.Response) -> str:
        said = f"{response.status_code} {response.reason_phrase}".strip()
        match response.status_code:
            case 401 if self._has_credentials:
                return f"does not accept the credentials it was given ({said})"
            case 401:
                return f"wants credentials ({said}); give it an Authorization header or OAuth"
            case 403:
                return f"forbids it ({said})"
            case 404 if "mcp-session-id" in request.headers:
                self.session_lost = True
                return f"has ended the session ({said})"
            case 404 | 405:
                return f"has no MCP endpoint at {show_url(str(request.url))} ({said}); correct its url"
            case _:
                return f"answered {said}"


def _judge_redirect(request: httpx2.Request, following: httpx2.Request) -> str | None:
    here, there = str(request.url), str(following.url)
    if origin(here) == origin(there) and following.method == request.method:
        return None  # the SDK follows these
    return f"redirects to {show_url(there)}, which is not followed; use that url if it is the server"


def _explain(error: httpx2.HTTPError, request: httpx2.Request) -> str:
    where = show_url(str(request.url))
    match error:
        case httpx2.ConnectTimeout():
            return f"can't be reached at {where} within {_CONNECT_TIME:g} s"
        case httpx2.ConnectError():
            return f"can't be reached at {where} ({error}); is it running?"
        case _:
            return f"broke off the exchange ({type(error).__name__})"


def _refusal(request: httpx2.Request, status: int, problem: str) -> httpx2.Response:
    try:
        request_id = json.loads(request.content).get("id")
    except (ValueError, AttributeError, httpx2.RequestNotRead):
        request_id = None
    error = {"code": _FAILED, "message": f"the server {problem}"}
    return httpx2.Response(status, json={"jsonrpc": "2.0", "id": request_id, "error": error}, request=request)
