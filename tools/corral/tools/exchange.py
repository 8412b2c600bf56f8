"""The HTTP client under MCP, whose failures are answers; imported late, as httpx2 is heavy.

The SDK's transport (mcp 2.3.0) ends the whole connection, with every call on it, when one request can't be sent, and
tells a bad status as "Server returned an error response". Here each becomes a JSON-RPC error that says what happened.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import anyio
import httpx2

from corral.tools.address import origin, show_url
from corral.tools.breaker import Breaker
from corral.tools.errors import TokenError
from corral.tools.lines import LineSplitter, Oversized, Sieved
from corral.tools.long_events import sifted
from corral.tools.long_strings import LongStrings
from corral.tools.loss import SENT

__all__ = ["Exchange"]

_FAILED: Final = -32000  # of the range that JSON-RPC 2.0 §5.1 leaves to implementations
_LEAVE_TIME: Final = 2.0
_CONNECT_TIME: Final = 10.0
_WAITS: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries to reach a server that was there before: it is being restarted, perhaps."""


class Exchange(httpx2.AsyncClient):
    """Sends MCP's messages to one server.

    Args:
        max_bytes: Of one message; a longer answer fails its request.
        long: Takes what is long in tools' results.
        sse: The server answers on one stream of events, whose end is that of the connection.
    """

    def __init__(self, *, max_bytes: int, long: LongStrings, has_credentials: bool, sse: bool, **options: Any) -> None:
        super().__init__(timeout=httpx2.Timeout(None, connect=_CONNECT_TIME), **options)
        self._max_bytes = max_bytes
        self._long = long
        self._has_credentials = has_credentials
        self._sse = sse
        self._events: httpx2.Response | None = None
        self._breaker = Breaker()
        self._was_there = False
        self.problem: str | None = None
        """What was wrong with the last message, in a sentence without its subject; None if nothing was."""
        self.is_over = False
        """The server does not know the session any more, or has ended the stream of events."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "DELETE":
            return await self._leave(request, options)
        response: httpx2.Response | None = None
        sent: bool | None = True
        try:
            response = await self._deliver(request, options)
            problem = await self._judge(request, response)
            sent = _was_carried_out(request, response)
        except httpx2.HTTPError as error:
            problem, sent = _explain(error, request), not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        except TokenError as error:
            problem, sent = f"got nothing: {error}", None
        if request.method == "POST" or self._sse or response is None:
            self.problem = problem
        if problem is None and response is not None:
            self._was_there = True
            return self._follow_events(request, response)
        if request.method != "POST" and response is not None:
            return response
        return await self._refuse(request, response, problem or "", sent)

    async def _deliver(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """Send it, again and again while the server can't be reached: nothing was sent then."""
        waits = iter(_WAITS if self._was_there and self._breaker.time_left == 0 else ())
        while True:
            try:
                response = await super().send(request, **options)
                self._breaker.worked()
                return response
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                self._breaker.failed()
                wait = next(waits, None)
                if wait is None:
                    raise
                await anyio.sleep(wait)

    async def _leave(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """End a session; a server that does not answer may not keep us, and nobody cares what it answers."""
        with anyio.move_on_after(_LEAVE_TIME), suppress(httpx2.HTTPError, TokenError):
            await (await super().send(request, **options)).aclose()
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
        if kind == "text/html":
            return f"answered with a web page, not MCP; correct its url {show_url(str(request.url))}"
        return None

    async def _read(self, request: httpx2.Request, response: httpx2.Response) -> str | None:
        lines = LineSplitter(self._max_bytes)
        length = 0
        async for chunk in response.aiter_bytes():
            length += len(chunk)
            if length > self._max_bytes:
                return f"answered with more than {self._max_bytes / 1024**2:g} MiB, which was dropped"
            lines.add(chunk)
        content = self._shortened(lines.take())
        if content is None:
            return "answered with what is no JSON, which was dropped"
        setattr(response, "_content", content)  # noqa: B010 - as its own aread does
        is_message = b'"jsonrpc"' in content
        if response.is_error:
            # The server's own JSON-RPC error says more than the status; where a token is wanted, it does not.
            lost = "mcp-session-id" in request.headers and (response.status_code == 404 or b"ession" in content)
            if lost:
                self.is_over = True
                return f"has ended the session ({response.status_code} {response.reason_phrase})"
            if not is_message or response.status_code in (401, 403):
                return self._explain_status(request, response)
        if not is_message and content.strip() and response.status_code == 200:
            return f"answered with JSON that is no MCP message; correct its url {show_url(str(request.url))}"
        return None

    def _shortened(self, body: bytes | Oversized) -> bytes | None:
        if not isinstance(body, Oversized):
            return body
        with suppress(ValueError):
            if isinstance(body, Sieved):
                return json.dumps(self._long.message(body.skeleton, body.found)[0]).encode()
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
                self.is_over = True
                return f"has ended the session ({said})"
            case 404 | 405:
                return f"has no MCP endpoint at {show_url(str(request.url))} ({said}); correct its url"
            case _:
                return f"answered {said}"

    async def _refuse(
        self, request: httpx2.Request, response: httpx2.Response | None, problem: str, sent: bool | None
    ) -> httpx2.Response:
        status = 503 if response is None else max(response.status_code, 400)
        if response is not None:
            await response.aclose()
        if self._sse and request.method == "POST":
            # Answers come on the stream of events only: its end fails the calls that wait on it.
            self.is_over = True
            if self._events is not None:
                await self._events.aclose()
            return httpx2.Response(202, request=request)
        error: dict[str, Any] = {"code": _FAILED, "message": problem, "data": {SENT: sent}}
        if sent is None:
            error = {"code": _FAILED, "message": f"the server {problem}"}
        body = {"jsonrpc": "2.0", "id": _request_id(request), "error": error}
        return httpx2.Response(status, json=body, request=request)

    def _follow_events(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            return response
        if not response.headers.get("content-encoding"):
            response.stream = _Shortened(response.stream, self._long, self._max_bytes)
        if self._sse and request.method == "GET":
            self._events = response
            response.stream = _Events(response.stream, self)
        return response


class _Shortened(httpx2.AsyncByteStream):
    """A stream of events without what is long in tools' results."""

    def __init__(self, stream: Any, long: LongStrings, max_bytes: int) -> None:
        self._stream = stream
        self._long = long
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for line in sifted(self._stream, self._long, self._max_bytes, _refusal):
            yield line

    async def aclose(self) -> None:
        await self._stream.aclose()


def _refusal(request_id: int | str, problem: str) -> bytes:
    error = {"code": _FAILED, "message": f"the answer {problem} and was dropped"}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()


class _Events(httpx2.AsyncByteStream):
    """A stream of events that ends quietly, however it ends, and tells so."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.HTTPError:
            pass
        finally:
            self._exchange.is_over = True

    async def aclose(self) -> None:
        await self._stream.aclose()


def _was_carried_out(request: httpx2.Request, response: httpx2.Response) -> bool | None:
    """Whether a request with a bad answer may have been; None if it was refused, and would be again."""
    if response.status_code in (400, 404) and "mcp-session-id" in request.headers:
        return False  # of a session that the server does not know any more
    return None if 300 <= response.status_code < 500 else True


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


def _request_id(request: httpx2.Request) -> Any:
    try:
        return json.loads(request.content).get("id")
    except (ValueError, AttributeError, httpx2.RequestNotRead):
        return None
