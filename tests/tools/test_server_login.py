"""MCP servers that say where to log in: real servers, a real authorization server, a browser that consents."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.tools import HttpServer, MCPServer, Observation, ServerLogin, Tool, Toolbox, ToolSourceError
from corral.tools.testing import LoopbackOAuth

from .processes import Process, free_port

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
WEB = [sys.executable, str(Path(__file__).parent / "servers" / "web.py")]


@dataclass
class Farm:
    oauth: LoopbackOAuth
    url: str
    web: Process

    def source(self, folder: Path | None, show: Callable[[str], object], **options: Any) -> MCPServer:
        login = ServerLogin(show, folder, client_id=self.oauth.public_id)
        return MCPServer("web", HttpServer(self.url, auth=login, **options))


@pytest.fixture
def farm() -> Iterator[Farm]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with LoopbackOAuth(lifetime=1, resources=[url]) as oauth:
        env = {"TOKEN_CHECK": f"{oauth.api_url}/animals", "ISSUER": oauth.url}
        with Process([*WEB, str(port)], r"ready (\d+)", env=env) as web:
            yield Farm(oauth, url, web)


def browse(url: str) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        assert b"close this window" in response.read()


def age_tokens(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"expires_at": 1.0}))


async def test_a_login_is_renewed_without_the_person_also_after_a_restart(
    perform: Perform, farm: Farm, tmp_path: Path
) -> None:
    async with Toolbox(farm.source(tmp_path, browse)) as box:
        assert box.failures == {}
        assert not (await perform(box["web_pid"], {})).is_error
        issued = farm.oauth.tokens_issued
        with anyio.fail_after(10):
            while farm.oauth.tokens_issued == issued:
                assert not (await perform(box["web_pid"], {})).is_error
    age_tokens(tmp_path)
    farm.oauth.revoke_all()
    issued = farm.oauth.tokens_issued
    async with Toolbox(farm.source(tmp_path, pytest.fail)) as box:
        assert box.failures == {}
        seen = await perform(box["web_headers"], {})
    assert "authorization: Bearer [hidden]" in seen.text
    assert farm.oauth.tokens_issued > issued


async def test_a_server_that_was_restarted_asks_nobody_again(perform: Perform, farm: Farm) -> None:
    asked: list[str] = []

    def consent(url: str) -> None:
        asked.append(url)
        browse(url)

    async with Toolbox(farm.source(None, consent)) as box:
        first = await perform(box["web_pid"], {})
        farm.web.kill()
        farm.web.start()
        with anyio.fail_after(10):
            second = await perform(box["web_pid"], {})
    assert not second.is_error
    assert second.text != first.text
    assert len(asked) == 1


async def test_calls_are_not_held_up_by_one_another(perform: Perform, farm: Farm) -> None:
    async with Toolbox(farm.source(None, browse, timeout=1.0)) as box:
        start = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(perform, box["web_wait"], {})
        assert time.perf_counter() - start < 2.5


async def test_a_person_who_does_not_consent_is_one_sentence(farm: Farm) -> None:
    login = ServerLogin(lambda url: None, client_id=farm.oauth.public_id, timeout=0.2)
    with anyio.fail_after(10), pytest.raises(ToolSourceError) as caught:
        async with MCPServer("web", HttpServer(farm.url, auth=login)):
            pass
    assert "nobody consented within 0.2 s" in str(caught.value)
    assert "\n" not in str(caught.value)
