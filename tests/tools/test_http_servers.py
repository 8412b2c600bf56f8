"""MCP over HTTP: real servers, and how they fail."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.policy import Action, Gate
from corral.tools import (
    HttpServer,
    MCPServer,
    OAuthClient,
    Observation,
    PerUser,
    StdioServer,
    TokenError,
    Tool,
    Toolbox,
    ToolSourceError,
    load_mcp_config,
)
from corral.tools.testing import LoopbackOAuth

from .processes import Process, free_port

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
WEB = [sys.executable, str(Path(__file__).parent / "servers" / "web.py")]


@pytest.fixture
def web() -> Iterator[Process]:
    with Process(WEB, r"ready (\d+)") as process:
        yield process


def url_of(process: Process) -> str:
    return f"http://127.0.0.1:{process.port}/mcp"


@pytest.fixture(params=["streamableHttp", "sse"])
def everything(request: pytest.FixtureRequest, node_server: Callable[..., StdioServer]) -> Iterator[HttpServer]:
    """The reference server over each of the two transports."""
    config, port = node_server("everything", request.param), free_port()
    command = [config.command, *config.args]
    with Process(command, r"(?i)on port|running", port=port, env={"PORT": str(port)}):
        path = "sse" if request.param == "sse" else "mcp"
        yield HttpServer(f"http://127.0.0.1:{port}/{path}", sse=request.param == "sse")


@pytest.mark.node
async def test_server_everything_sends_text_and_images_over_http(perform: Perform, everything: HttpServer) -> None:
    async with Toolbox(MCPServer("everything", everything)) as box:
        assert set(box.failures) == {"everything/simulate-research-query"}
        assert (await perform(box["everything_echo"], {"message": "hello"})).text == "Echo: hello"
        assert "[image image/png," in (await perform(box["everything_get_tiny_image"], {})).text


async def test_headers_of_a_config_file_reach_the_server_and_are_hidden_in_its_results(
    perform: Perform, web: Process, tmp_path: Path
) -> None:
    path = tmp_path / "servers.json"
    path.write_text(
        '{"mcpServers": {"web": {"type": "http", "url": "http://127.0.0.1:${PORT}/mcp",'
        ' "headers": {"Authorization": "Bearer ${TOKEN}", "X-Farm": "hill"}}}}',
        encoding="utf-8",
    )
    servers = load_mcp_config(path, environ={"PORT": str(web.port), "TOKEN": "canary-token"})
    async with Toolbox(*servers) as box:
        assert box.failures == {}
        seen = await perform(box["web_headers"], {})
    assert "x-farm: hill" in seen.text
    assert "authorization: Bearer [hidden]" in seen.text
    assert "canary-token" not in repr((seen, servers[0].config))


async def test_a_server_behind_oauth_gets_a_live_token_with_each_call(
    perform: Perform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with LoopbackOAuth() as oauth, Process(WEB, r"ready (\d+)", env={"TOKEN_CHECK": f"{oauth.api_url}/animals"}) as web:
        source = OAuthClient(oauth.token_url, oauth.client_id, oauth.client_secret)
        async with Toolbox(MCPServer("web", HttpServer(url_of(web), auth=source))) as box:
            assert box.failures == {}
            first = await source.token()
            seen = await perform(box["web_headers"], {})
            oauth.revoke_all()
            again = await perform(box["web_headers"], {})
        assert not again.is_error
        assert oauth.tokens_issued == 2
        for secret in (first, await source.token(), oauth.client_secret):
            assert secret not in repr((seen, again)) + caplog.text


async def test_a_call_whose_token_is_refused_is_told_and_not_repeated(perform: Perform) -> None:
    with LoopbackOAuth() as oauth, Process(WEB, r"ready (\d+)", env={"TOKEN_CHECK": f"{oauth.api_url}/animals"}) as web:
        source = OAuthClient(oauth.token_url, oauth.client_id, oauth.client_secret)
        async with Toolbox(MCPServer("web", HttpServer(url_of(web), auth=source))) as box:
            oauth.client_secret = "another"
            oauth._grants.client_secret = "another"
            oauth.revoke_all()
            count = len(oauth.requests)
            seen = await perform(box["web_pid"], {})
    assert seen.is_error
    assert "the server got nothing: no access token from" in seen.text
    assert oauth.requests[count:] == ["GET /api/animals 401", "POST /oauth/token 401"]


async def test_calls_with_a_token_are_not_serialised(perform: Perform) -> None:
    with LoopbackOAuth() as oauth, Process(WEB, r"ready (\d+)") as web:
        source = OAuthClient(oauth.token_url, oauth.client_id, oauth.client_secret)
        config = HttpServer(url_of(web), auth=source, timeout=1.0)
        async with Toolbox(MCPServer("web", config)) as box:
            start = time.perf_counter()
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(perform, box["web_wait"], {})
            assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (HttpServer("http://127.0.0.1:9/mcp"), "web: the server can't be reached at http://127.0.0.1:9/mcp"),
        (HttpServer("http://127.0.0.1:9/sse", sse=True), "web: the server can't be reached at http://127.0.0.1:9/sse"),
        (HttpServer("127.0.0.1:80"), "web: its url can't be used: expected a URL that begins with https://"),
        (HttpServer("http:///mcp"), "web: its url can't be used: it names no host"),
        (HttpServer("http://${HOST}/"), "web: its configuration needs ${HOST}, which is not set"),
        (
            HttpServer("http://farm.example/mcp", {"X-Api-Key": "x"}),
            "web: its url can't be used: tokens and secret headers are sent over https only",
        ),
    ],
)
async def test_a_url_that_leads_nowhere_is_one_sentence(config: HttpServer, problem: str) -> None:
    with anyio.fail_after(20), pytest.raises(ToolSourceError) as caught:
        async with MCPServer("web", config, environ={}):
            pass
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sse", [False, True])
async def test_what_a_url_answers_other_than_mcp_is_one_sentence(sse: bool, caplog: pytest.LogCaptureFixture) -> None:
    with LoopbackOAuth() as oauth:
        for url, problem in (
            (f"{oauth.url}/nothing", f"has no MCP endpoint at {oauth.url}/nothing (404 Not Found); correct its url"),
            (
                f"{oauth.api_url}/notes",
                "wants credentials (401 Unauthorized); give it an Authorization header or OAuth",
            ),
        ):
            with pytest.raises(ToolSourceError) as caught:
                async with MCPServer("web", HttpServer(url, sse=sse)):
                    pass
            assert str(caught.value) == f"web: the server {problem}"
        wrong = OAuthClient(oauth.token_url, oauth.client_id, "wrong")
        with pytest.raises(ToolSourceError, match=r"the server got nothing: no access token from .*invalid_client"):
            async with MCPServer("web", HttpServer(f"{oauth.api_url}/notes", auth=wrong, sse=sse)):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_server_restarted_between_calls_is_found_again_and_nothing_is_lost(
    perform: Perform, web: Process
) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web)))) as box:
        first = await perform(box["web_pid"], {})
        web.kill()
        web.start(str(web.port))
        with anyio.fail_after(10):
            second = await perform(box["web_pid"], {})
    assert not second.is_error
    assert second.text != first.text


async def test_a_call_waits_for_a_server_that_is_being_restarted(perform: Perform, web: Process) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web)))) as box:
        first = await perform(box["web_pid"], {})
        web.kill()
        seen: list[Observation] = []

        async def ask() -> None:
            seen.append(await perform(box["web_pid"], {}))

        with anyio.fail_after(15):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.to_thread.run_sync(web.start, str(web.port))
    assert not seen[0].is_error
    assert seen[0].text != first.text


async def test_a_server_that_dies_in_a_call_over_http_leaves_its_outcome_unknown(
    perform: Perform, web: Process
) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web)))) as box:
        with anyio.fail_after(15):
            seen = await perform(box["web_die"], {})
            await anyio.to_thread.run_sync(web.wait)
            later = await perform(box["web_pid"], {})
    assert seen.is_error
    assert seen.text.endswith("; whether the call took effect is unknown")
    assert later.is_error
    assert later.text.endswith("; nothing was sent to it")


async def test_a_repeatable_call_over_http_is_sent_again_after_a_crash(perform: Perform, web: Process) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web), trust=True))) as box:
        seen: list[Observation] = []

        async def ask() -> None:
            seen.append(await perform(box["web_die_once"], {}))

        def restart() -> None:
            web.wait()
            web.kill()
            web.start(str(web.port), SECOND_LIFE="1")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.to_thread.run_sync(restart)
    assert seen[0].text == "alive"


async def test_a_call_over_http_past_its_limit_is_stopped_and_the_next_one_works(
    perform: Perform, web: Process
) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web), timeout=0.5))) as box:
        assert "ran past its limit of 0.5 s" in (await perform(box["web_wait"], {})).text
        assert not (await perform(box["web_pid"], {})).is_error


async def test_megabytes_over_http_arrive_fast(perform: Perform, web: Process) -> None:
    async with Toolbox(MCPServer("web", HttpServer(url_of(web)))) as box:
        start = time.perf_counter()
        seen = await perform(box["web_big"], {})
        assert len(seen.text) == 5_000_000
        assert time.perf_counter() - start < 5


class Badge:
    """A token of one person, or none at all."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def token(self, *, refused: str | None = None) -> str:
        return self.word

    def secrets(self) -> tuple[str, ...]:
        return (self.word,)


async def test_each_users_calls_carry_that_users_token_over_a_connection_of_its_own(gate: Gate, web: Process) -> None:
    asked: list[str] = []

    def badge_of(user: str) -> Badge:
        asked.append(user)
        if user == "user:mallory":
            raise TokenError("badges", "mallory has none")
        return Badge(f"badge-of-{user.removeprefix('user:')}")

    async def headers_of(user: str, tool: Tool) -> Observation:
        action = Action(tool.resource, "call", user=user)
        return await gate.perform(action, lambda admission: tool.call({}, admission))

    config = HttpServer(f"{url_of(web)}", auth=PerUser(badge_of, listing="user:shared"))
    async with Toolbox(MCPServer("web", config)) as box:
        assert box.failures == {}
        seen: dict[str, Observation] = {}

        async def ask(user: str) -> None:
            seen[user] = await headers_of(user, box["web_fingerprint"])

        async with anyio.create_task_group() as group:
            for user in ("user:ada", "user:bob", "user:mallory"):
                group.start_soon(ask, user)
        again = await headers_of("user:ada", box["web_fingerprint"])
    prints = {user: hashlib.sha256(f"Bearer badge-of-{user[5:]}".encode()).hexdigest() for user in seen}
    assert seen["user:ada"].text == again.text == prints["user:ada"]
    assert seen["user:bob"].text == prints["user:bob"]
    assert seen["user:mallory"].is_error
    assert "mallory has none" in seen["user:mallory"].text
    assert sorted(asked) == ["user:ada", "user:bob", "user:mallory", "user:shared"]
