"""Access tokens, against a real authorization server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from pydantic import SecretStr

from corral.tools import OAuthClient, TokenError, ToolConfigError, bearer
from corral.tools.testing import LoopbackOAuth


@pytest.fixture
def server() -> Iterator[LoopbackOAuth]:
    with LoopbackOAuth() as server:
        yield server


def client_of(server: LoopbackOAuth, **options: Any) -> OAuthClient:
    return OAuthClient(server.token_url, server.client_id, server.client_secret, **options)


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_requests_of_both_libraries_are_signed(server: LoopbackOAuth, library: Any) -> None:
    async with library.AsyncClient(auth=bearer(client_of(server, scopes=["herd:read"]))) as client:
        animals = (await client.get(f"{server.api_url}/animals")).json()
        forbidden = await client.delete(f"{server.api_url}/animals/mo")
    assert len(animals) == 4
    assert forbidden.status_code == 403
    assert server.tokens_issued == 1


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_token_that_is_refused_is_replaced_once(server: LoopbackOAuth, library: Any) -> None:
    source = client_of(server)
    async with library.AsyncClient(auth=bearer(source)) as client:
        await client.get(f"{server.api_url}/animals")
        server.revoke_all()
        written = await client.post(f"{server.api_url}/notes", json={"text": "after"})
    assert written.status_code == 201
    assert server.herd.notes == ["after"]
    assert server.requests[-3:] == ["POST /api/notes 401", "POST /oauth/token 200", "POST /api/notes 201"]


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_token_with_too_few_scopes_is_replaced_by_one_with_those_that_are_missing(
    server: LoopbackOAuth, library: Any
) -> None:
    for step_up, status in ((False, 403), (True, 201)):
        source = client_of(server, scopes=["herd:read"], step_up=step_up)
        async with library.AsyncClient(auth=bearer(source)) as client:
            for _ in range(2):
                written = await client.post(f"{server.api_url}/notes", json={"text": "hay"})
                assert written.status_code == status
            assert (await client.get(f"{server.api_url}/animals")).status_code == 200
    assert server.tokens_issued == 3


async def test_an_api_that_refuses_each_token_gets_two_requests_and_no_more() -> None:
    with LoopbackOAuth() as server, LoopbackOAuth() as other:
        async with httpx.AsyncClient(auth=bearer(client_of(server))) as client:
            refused = await client.get(f"{other.api_url}/animals")
    assert refused.status_code == 401
    assert len(other.requests) == 2
    assert server.tokens_issued == 2


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_client_shows_its_secret_in_either_way(server: LoopbackOAuth, method: Any) -> None:
    source = client_of(server, auth_method=method, resource=server.api_url, scopes=["herd:read", "herd:write"])
    assert await source.token()


async def test_ids_and_secrets_with_any_character_reach_the_server(server: LoopbackOAuth) -> None:
    server.client_id, server.client_secret = "me:+ %", "ü :%20+&="
    with server:
        assert await client_of(server).token()


async def test_fifty_callers_cause_one_request(server: LoopbackOAuth) -> None:
    source = client_of(server)
    tokens: list[str] = []

    async def ask() -> None:
        tokens.append(await source.token())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert (len(tokens), len(set(tokens)), server.tokens_issued) == (50, 1, 1)


async def test_a_caller_who_is_cancelled_leaves_the_token_to_the_others(server: LoopbackOAuth) -> None:
    source = client_of(server)
    tokens: list[str] = []

    async def ask() -> None:
        tokens.append(await source.token())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await source.token()
    assert len(tokens) == server.tokens_issued == 1


async def test_a_token_past_its_life_is_renewed_before_it_is_used() -> None:
    with LoopbackOAuth(lifetime=0.2) as server:
        source = client_of(server)
        first = await source.token()
        with anyio.fail_after(5):
            while await source.token() == first:
                await anyio.lowlevel.checkpoint()
        async with httpx.AsyncClient(auth=bearer(source)) as client:
            assert (await client.get(f"{server.api_url}/animals")).status_code == 200
        assert not any(" 401" in request for request in server.requests)


async def test_one_source_serves_one_loop_after_another(server: LoopbackOAuth) -> None:
    source = client_of(server)
    tokens = {await source.token(), await anyio.to_thread.run_sync(lambda: anyio.run(source.token))}
    assert len(tokens) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"client_secret": "wrong"}, "it refused the client's id or secret (invalid_client)"),
        ({"scopes": ["herd:read", "moon"]}, "it refused the scopes 'herd:read moon' (invalid_scope)"),
        ({"resource": "https://elsewhere"}, "it refused: invalid_target: there is no such resource here"),
        ({"client_secret": "${NOT_SET}", "environ": {}}, "it needs ${NOT_SET}, which is not set"),
        ({"token_url": "/nowhere"}, "it refused: not_found: there is nothing here"),
        ({"token_url": "http://127.0.0.1:9/token"}, "it can't be reached (ConnectError)"),
    ],
)
async def test_why_no_token_can_be_had_is_one_sentence(
    server: LoopbackOAuth, options: dict[str, Any], problem: str
) -> None:
    if options.get("token_url") == "/nowhere":
        options = {"token_url": f"{server.url}/nowhere"}
    said: dict[str, Any] = {
        "token_url": server.token_url,
        "client_id": server.client_id,
        "client_secret": server.client_secret,
        **options,
    }
    source = OAuthClient(**said)
    with pytest.raises(TokenError) as caught:
        await source.token()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ToolConfigError, match="https only"):
        OAuthClient("http://auth.example/token", "me", "secret")
    assert OAuthClient("http://localhost:1/token", "me", "secret")


async def test_a_token_is_not_sent_in_the_clear(server: LoopbackOAuth) -> None:
    async with httpx.AsyncClient(auth=bearer(client_of(server))) as client:
        with pytest.raises(TokenError, match="over https only"):
            await client.get("http://api.example/animals")
    assert server.tokens_issued == 0


async def test_no_secret_is_seen_in_reprs_errors_or_logs(
    server: LoopbackOAuth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = client_of(server)
    token = await source.token()
    wrong = OAuthClient(server.token_url, "me", SecretStr("canary-secret"))
    with pytest.raises(TokenError) as caught:
        await wrong.token()
    async with httpx2.AsyncClient(auth=bearer(source)) as client:
        await client.get(f"{server.api_url}/animals")
    seen = "\n".join((repr(source), repr(bearer(source)), repr(wrong), str(caught.value), caplog.text))
    for secret in (token, server.client_secret, "canary-secret"):
        assert secret not in seen
