"""What comes from elsewhere and is wrong: told with a reason, and nothing else is lost."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from corral.tools import Endpoint, HttpServer, HttpTools, MCPServer, Observation, Tool, Toolbox

from .plain import Answer, plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]


@asynccontextmanager
async def endless(head: bytes, piece: bytes, pause: float) -> AsyncIterator[str]:
    """A server whose every answer goes on until the client leaves."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n\r\n")
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
        except OSError:
            pass  # the client left
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def ask(perform: Perform, source: HttpTools) -> Observation:
    async with Toolbox(source) as box:
        return await perform(box["api_get"], {})


async def test_an_answer_without_end_is_cut_at_the_cap(perform: Perform) -> None:
    async with endless(b"Content-Type: text/plain", b"x" * 65536, 0) as url:
        source = HttpTools("api", url, Endpoint("get", "GET", "/"), max_bytes=1_000_000)
        with anyio.fail_after(10):
            seen = await ask(perform, source)
    assert seen.text.endswith("[cut: the answer is longer than 1000000 B]")


async def test_an_answer_that_only_drips_ends_with_the_calls_time(perform: Perform) -> None:
    async with endless(b"Content-Type: text/plain", b"x", 0.01) as url:
        start = time.perf_counter()
        seen = await ask(perform, HttpTools("api", url, Endpoint("get", "GET", "/", timeout=0.5)))
    assert seen.text == "api_get ran past its limit of 0.5 s and was given up"
    assert time.perf_counter() - start < 5


async def test_a_server_over_http_that_never_ends_its_answer_is_given_up() -> None:
    for head, piece in (
        (b"Content-Type: text/event-stream", b": nothing\n\n"),
        (b"Content-Type: text/event-stream", b"data: " + b"x" * 65536),
        (b"Content-Type: application/json", b" " * 65536),
    ):
        async with endless(head, piece, 0.001) as url:
            config = HttpServer(f"{url}/mcp", max_message_bytes=1_000_000)
            with anyio.fail_after(20):
                async with Toolbox(MCPServer("drip", config, connect_timeout=1.0)) as box:
                    assert set(box.failures) == {"drip"}


async def test_a_line_without_end_takes_bounded_memory_and_its_own_call_only(perform: Perform, server: Server) -> None:
    config = server("raw", "flood", timeout=3.0, max_message_bytes=1_000_000).config
    async with Toolbox(MCPServer("raw", config)) as box:
        assert box.failures == {}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        flooded = await perform(box["raw_misbehave"], {})
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert flooded.is_error
    assert "ran past its limit of 3 s" in flooded.text
    assert taken < 50  # megabytes, of almost 200 that were sent


async def test_bytes_that_are_no_text_are_dropped_and_the_answer_arrives(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "binary")) as box:
        with anyio.fail_after(10):
            assert (await perform(box["raw_misbehave"], {})).text == "hello"
            assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_a_server_that_redirects_elsewhere_gets_nothing_more() -> None:
    with plain() as elsewhere, plain(Answer(307, headers={"Location": f"{elsewhere.url}/mcp"})) as server:
        headers = {"Authorization": "Bearer canary"}
        async with Toolbox(MCPServer("moved", HttpServer(f"{server.url}/mcp", headers=headers))) as box:
            assert "redirect" in box.failures["moved"]
            assert "canary" not in box.failures["moved"]
    assert elsewhere.asked == []


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b'{"a": NaN}', b'{"a": ', b"[" * 100_000])
async def test_json_that_is_none_is_text(perform: Perform, body: bytes) -> None:
    with plain(Answer(body=body)) as server:
        async with Toolbox(HttpTools("api", server.url, Endpoint("get", "GET", "/"))) as box:
            seen = await perform(box["api_get"], {})
    assert not seen.is_error
    assert seen.structured is None
    assert seen.text
