"""Where requests of tools may not go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from corral.tools import (
    Endpoint,
    HttpServer,
    HttpTools,
    MCPServer,
    Observation,
    Tool,
    Toolbox,
    ToolConfigError,
    ToolSourceError,
    load_mcp_config,
    load_openapi,
)
from corral.tools.egress import REFUSED, guarded

from .plain import plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
# What resolvers take for 127.0.0.1 although it is not written as an address.
DISGUISED = ("2130706433", "0x7f.1", "127.1")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "metadata.google.internal",
    ],
)
async def test_where_clouds_keep_credentials_nothing_is_sent(host: str, tmp_path: Path) -> None:
    url = f"http://{host}/latest"
    problem = "there clouds keep the credentials of machines; nothing is sent to it"
    with pytest.raises(ToolConfigError, match=problem):
        HttpTools("api", url, Endpoint("get", "GET", "/"), allow_private=True)
    with pytest.raises(ToolConfigError, match=problem):
        load_openapi("api", {"openapi": "3.1.0", "servers": [{"url": url}], "paths": {}})
    with pytest.raises(ToolSourceError, match=problem):
        await MCPServer("m", HttpServer(url, allow_private=True)).__aenter__()
    path = tmp_path / "mcp.json"
    path.write_text(f'{{"mcpServers": {{"m": {{"url": "{url}"}}}}}}')
    with pytest.raises(ToolConfigError, match=problem):
        load_mcp_config(path)


@pytest.mark.parametrize("host", DISGUISED)
async def test_a_name_that_leads_into_this_machine_is_refused_unless_it_is_allowed(perform: Perform, host: str) -> None:
    with plain() as server:
        port = server.url.rpartition(":")[2]
        url = f"http://{host}:{port}"
        async with Toolbox(HttpTools("api", url, Endpoint("get", "GET", "/"))) as box:
            seen = await perform(box["api_get"], {})
        assert seen.is_error
        assert seen.text == (
            f"{host} leads to 127.0.0.1, which is inside this machine or network; allow_private lets it be used; "
            "nothing was sent"
        )
        async with Toolbox(MCPServer("m", HttpServer(f"{url}/mcp"))) as box:
            assert "which is inside this machine or network" in box.failures["m"]
        assert server.asked == []
        allowed = HttpTools("api", url, Endpoint("get", "GET", "/"), allow_private=True)
        async with Toolbox(allowed) as box:
            assert not (await perform(box["api_get"], {})).is_error
        assert server.asked[0].headers["host"] == f"{host}:{port}"


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_both_libraries_are_held_at_each_connection(library: Any) -> None:
    with plain() as server:
        url = f"http://127.1:{server.url.rpartition(':')[2]}/"
        async with library.AsyncClient(transport=guarded(library, url, allow_private=False), trust_env=False) as client:
            with pytest.raises(library.ConnectError, match=REFUSED):
                await client.get(url)
            assert (await client.get(server.url)).status_code == 200
        assert len(server.asked) == 1


async def test_a_redirect_into_this_machine_is_not_followed(perform: Perform) -> None:
    from .plain import Answer

    with plain() as inside, plain(Answer(302, headers={"Location": f"{inside.url}/secret"})) as outside:
        async with Toolbox(HttpTools("api", outside.url, Endpoint("get", "GET", "/"))) as box:
            seen = await perform(box["api_get"], {})
    assert seen.text == f"it redirects to {inside.url}/secret, which is not followed"
    assert inside.asked == []
