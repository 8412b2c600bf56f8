"""Requests to authorization servers: bounded in time and size, no redirect to elsewhere; imported late."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2

from corral.tools.address import is_private_way, origin, show_url
from corral.tools.egress import REFUSED, guarded
from corral.tools.errors import TokenError

__all__ = ["ACCEPTED", "MAX_BYTES", "OversizedAnswer", "Unreached", "client_options", "send_json", "told"]

MAX_BYTES: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 5
_PACKED: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Encodings, and the window bits with which zlib reads them."""
ACCEPTED: Final = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}


class Unreached(TokenError):
    """There was no connection: nothing was sent, and the same may be sent again."""


class OversizedAnswer(httpx2.HTTPError):
    """The answer has more bytes than any that this server could mean."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"more than {MAX_BYTES} bytes")
        self.request = response.request


async def cap_body(response: httpx2.Response) -> None:
    """Read the body, up to the cap; an event hook of a client's responses.

    Raises:
        OversizedAnswer: There is more.
    """
    parts: list[bytes] = []
    left = MAX_BYTES
    async for chunk in response.aiter_raw():
        left -= len(chunk)
        if left < 0:
            raise OversizedAnswer(response)
        parts.append(chunk)
    content = _unpack(b"".join(parts), response)
    setattr(response, "_content", content)  # noqa: B010 - as its own aread does


def _unpack(content: bytes, response: httpx2.Response) -> bytes:
    """What was compressed, up to the cap: the client's own decoder would take a thousand times as much at once."""
    kind = response.headers.get("content-encoding", "").strip().lower()
    if kind not in _PACKED:
        return content
    unpacker = zlib.decompressobj(_PACKED[kind])
    try:
        unpacked = unpacker.decompress(content, MAX_BYTES + 1)
    except zlib.error:
        return b""
    if len(unpacked) > MAX_BYTES:
        raise OversizedAnswer(response)
    return unpacked


@asynccontextmanager
async def told(url: str, timeout: float) -> AsyncGenerator[None]:
    """Turn what may go wrong with a request to `url` into one sentence, and end it after `timeout` seconds."""
    where = urlsplit(url).netloc
    try:
        with anyio.fail_after(timeout):
            yield
    except TimeoutError:
        raise TokenError(where, f"it did not answer within {timeout:g} s") from None
    except OversizedAnswer:
        raise TokenError(where, f"its answer is larger than {MAX_BYTES // 1024} KiB and was dropped") from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        if str(error).startswith(REFUSED):
            raise TokenError(where, str(error)) from None
        raise Unreached(where, f"it can't be reached ({type(error).__name__})") from None
    except httpx2.HTTPError as error:
        raise TokenError(where, f"it can't be reached ({type(error).__name__})") from None


async def send_json(url: str, timeout: float, *, body: Any = None, allow_private: bool = True) -> tuple[int, Any]:
    """What `url` answers to a GET, or to a POST of `body`: the status, and the JSON or None if it is none.

    Redirects are followed within the URL's own origin only.

    Args:
        allow_private: Its name may lead into this machine or network: whoever wrote it is one of us.

    Raises:
        TokenError: It can't be reached, does not answer in time, or may not be asked over plain http.
    """
    for left in reversed(range(_MAX_REDIRECTS)):
        if not is_private_way(url):
            raise TokenError(show_url(url), "authorization servers are asked over https only, except on this machine")
        client = _client(url, allow_private)  # which takes its time, and not the server's
        async with told(url, timeout), client:
            request = client.build_request("GET" if body is None else "POST", url, json=body, headers=ACCEPTED)
            response = await client.send(request)
        following = response.next_request
        is_ours = following is not None and following.method == request.method
        if following is None or not is_ours or not left or origin(str(following.url)) != origin(url):
            return response.status_code, _parse(response)
        url = str(following.url)
    raise AssertionError("unreachable")


def client_options(url: str, allow_private: bool) -> dict[str, Any]:
    """How a client of httpx2 is to be made that asks there."""
    return {
        "timeout": None,
        "transport": guarded(httpx2, url, allow_private=allow_private),
        "event_hooks": {"response": [cap_body]},
    }


def _client(url: str, allow_private: bool) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(**client_options(url, allow_private))


def _parse(response: httpx2.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return None
