"""Where requests may not go when the environment names a proxy, which resolves names itself: a real one on loopback."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from corral.tools import (
    A2AAgent,
    Endpoint,
    HttpServer,
    HttpTools,
    MCPServer,
    Observation,
    TokenError,
    Tool,
    Toolbox,
    ToolConfigError,
    load_openapi,
)
from corral.tools.discovery import discover_server
from corral.tools.egress import REFUSED, guarded, guarded_sync
from corral.tools.oauth_http import send_json

from .plain import Plain, plain
from .proxy import Proxy, proxy

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
INSIDE = "127.1 leads to 127.0.0.1, which is inside this machine or network; allow_private lets it be used"
# Nobody resolves it here, as behind many proxies; the proxy does.
FAR = "http://herd.invalid"
GET = Endpoint("get", "GET", "/cows")


@pytest.fixture
def server() -> Iterator[Plain]:
    with plain() as server:
        yield server


@pytest.fixture
def way(server: Plain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, which leads far names to the server, and would lead inside ones too."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    there = server.url.removeprefix("http://")
    with proxy() as way:
        way.leads = {"herd.invalid:80": there, "127.1:80": there, "127.1:443": there, "herd.invalid:443": there}
        monkeypatch.setenv("HTTP_PROXY", way.url)
        monkeypatch.setenv("HTTPS_PROXY", way.url)
        yield way


async def ask(perform: Perform, url: str, **options: Any) -> Observation:
    async with Toolbox(HttpTools("api", url, GET, **options)) as box:
        return await perform(box["api_get"], {})


async def test_what_the_proxy_alone_can_resolve_goes_by_it(perform: Perform, way: Proxy, server: Plain) -> None:
    assert not (await ask(perform, FAR)).is_error
    assert way.asked == [f"GET {FAR}/cows"]
    assert server.asked[0].path == "/cows"


async def test_a_name_that_leads_inside_is_refused_before_the_proxy_is_asked(perform: Perform, way: Proxy) -> None:
    seen = await ask(perform, "http://127.1")
    assert seen.text == f"{INSIDE}; nothing was sent"
    async with Toolbox(MCPServer("m", HttpServer("http://127.1/mcp")), A2AAgent("a", "http://127.1")) as box:
        assert INSIDE in box.failures["m"]
        assert INSIDE in box.failures["a"]
    with pytest.raises(ToolConfigError, match=INSIDE):
        load_openapi("api", "http://127.1/openapi.json")
    with pytest.raises(TokenError, match=INSIDE):
        await discover_server("https://127.1", allow_private=False)
    assert way.asked == []
    assert not (await ask(perform, "http://127.1", allow_private=True)).is_error
    assert way.asked == ["GET http://127.1/cows"]


async def test_the_addresses_of_metadata_are_refused_however_they_are_reached(way: Proxy) -> None:
    url = "http://169.254.169.254/latest"
    with pytest.raises(ToolConfigError, match="there clouds keep the credentials"):
        HttpTools("api", url, GET, allow_private=True)
    for library in (httpx, httpx2):
        transport = guarded(library, FAR, allow_private=True)
        async with library.AsyncClient(transport=transport) as client:
            for literal in (url, "http://[fd00:ec2::254]/", "http://metadata.google.internal/"):
                with pytest.raises(library.ConnectError, match=REFUSED):
                    await client.get(literal)
        sync = guarded_sync(library, FAR, allow_private=True)
        with library.Client(transport=sync) as client, pytest.raises(library.ConnectError, match=REFUSED):
            client.get(url)
    assert way.asked == []


async def test_one_address_inside_is_enough_where_the_proxy_chooses(
    perform: Perform, way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, *args: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in ("192.88.99.1", "10.0.0.7")]

    with monkeypatch.context() as patched:
        patched.setattr("corral.tools.egress.socket.getaddrinfo", resolve)
        seen = await ask(perform, FAR)
    assert "herd.invalid leads to 10.0.0.7, which is inside this machine or network" in seen.text
    assert way.asked == []


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTP_PROXY"])
async def test_the_proxy_is_the_one_that_the_environment_means(
    perform: Perform, way: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv(name, way.url.removeprefix("http://"))
    assert not (await ask(perform, FAR)).is_error
    assert way.asked == [f"GET {FAR}/cows"]
    monkeypatch.setenv("NO_PROXY", "other.example,herd.invalid")
    assert "can't be reached; nothing was sent" in (await ask(perform, FAR)).text
    assert len(way.asked) == 1


async def test_this_machines_own_servers_are_not_asked_by_the_proxy(
    perform: Perform, way: Proxy, server: Plain
) -> None:
    assert not (await ask(perform, server.url)).is_error
    assert await send_json(f"{server.url}/x", 5.0) == (200, {})
    assert way.asked == []


async def test_secrets_go_through_the_proxy_in_a_tunnel_only(way: Proxy) -> None:
    with pytest.raises(TokenError):
        await send_json("https://herd.invalid/token", 5.0)  # the server behind speaks no TLS
    assert way.asked == ["CONNECT herd.invalid:443"]
    with pytest.raises(TokenError, match="over https only"):
        await send_json("http://herd.invalid/token", 5.0)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("gopher://127.0.0.1:1", "a gopher proxy can't be used"), ("http://canary:x", "a http proxy can't be used")],
)
async def test_a_proxy_that_can_not_be_used_is_told(
    way: Proxy, monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    async with Toolbox(HttpTools("api", FAR, GET)) as box:
        assert problem in box.failures["api"]
        assert "canary" not in box.failures["api"]
