"""Logging in with a person's consent, and staying logged in; against a real authorization server on loopback."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from corral.tools import AuthorizationCode, DeviceCode, FileTokenStore, OAuthClient, TokenError, bearer
from corral.tools.testing import LoopbackOAuth


@pytest.fixture
def server() -> Iterator[LoopbackOAuth]:
    with LoopbackOAuth(lifetime=0.3) as server:
        yield server


def browse(url: str) -> None:
    """What a browser does with the URL, where the person consents at once."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        assert b"close this window" in response.read()


def client_of(server: LoopbackOAuth, folder: Path | None = None, **options: Any) -> OAuthClient:
    return OAuthClient(
        server.token_url,
        server.public_id,
        grant=options.pop("grant", AuthorizationCode(server.authorize_url, browse)),
        store=None if folder is None else FileTokenStore(folder),
        **options,
    )


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


async def expire(client: OAuthClient) -> None:
    token = client._keeper.held.token
    assert token is not None
    with anyio.fail_after(5):
        while token.is_usable:
            await anyio.lowlevel.checkpoint()


async def test_a_login_by_browser_gives_a_token_that_is_renewed_without_the_person(server: LoopbackOAuth) -> None:
    client = client_of(server, scopes=["herd:read"])
    with pytest.raises(TokenError, match="log in again"):
        await client.token()
    await client.login()
    async with httpx.AsyncClient(auth=bearer(client)) as http:
        assert (await http.get(f"{server.api_url}/animals")).status_code == 200
        await expire(client)
        assert (await http.get(f"{server.api_url}/animals")).status_code == 200
    assert server.tokens_issued == 2
    assert not any(" 401" in request for request in server.requests)


async def test_after_a_restart_an_expired_token_is_renewed_silently(server: LoopbackOAuth, tmp_path: Path) -> None:
    first = client_of(server, tmp_path)
    await first.login()
    await expire(first)
    again = client_of(server, tmp_path, grant=AuthorizationCode(server.authorize_url, pytest.fail))
    assert again.is_logged_in
    assert await again.token()
    assert server.tokens_issued == 2
    (file,) = files_in(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_processes_share_a_refresh_token_that_rotates(server: LoopbackOAuth, tmp_path: Path) -> None:
    clients = [client_of(server, tmp_path) for _ in range(5)]
    await clients[0].login()
    for _ in range(3):
        await expire(clients[0])
        issued = server.tokens_issued
        async with anyio.create_task_group() as group:
            for client in clients:
                for _ in range(10):
                    group.start_soon(client.token)
        assert server.tokens_issued == issued + 1
        await clients[0]._keeper.load()


async def test_two_real_processes_do_not_revoke_each_other(server: LoopbackOAuth, tmp_path: Path) -> None:
    await client_of(server, tmp_path).login()
    code = (
        "import anyio, sys\n"
        "from corral.tools import OAuthClient, FileTokenStore, AuthorizationCode\n"
        "url, authorize, me, folder = sys.argv[1:]\n"
        "client = OAuthClient(url, me, grant=AuthorizationCode(authorize), store=FileTokenStore(folder))\n"
        "async def main():\n"
        "    for _ in range(40):\n"
        "        await client.token()\n"
        "        await anyio.sleep(0.02)\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", code, server.token_url, server.authorize_url, server.public_id, str(tmp_path)]

    def run() -> None:
        processes = [subprocess.Popen(command) for _ in range(2)]
        assert [process.wait(30) for process in processes] == [0, 0]

    await anyio.to_thread.run_sync(run)
    assert not any(" 400" in request or " 401" in request for request in server.requests)


async def test_a_login_by_device_waits_for_the_code_to_be_typed_elsewhere(server: LoopbackOAuth) -> None:
    shown: list[tuple[str, str]] = []

    def show(url: str, user_code: str) -> None:
        shown.append((url, user_code))
        threading.Timer(0.3, server.approve, (user_code,)).start()

    client = client_of(server, grant=DeviceCode(server.device_url, show))
    with anyio.fail_after(10):
        await client.login()
    assert await client.token()
    assert shown[0][0] == f"{server.url}/oauth/device"
    assert "POST /oauth/token 400" in server.requests


async def test_a_browser_that_comes_back_with_another_answer_is_refused(server: LoopbackOAuth) -> None:
    def forge(url: str) -> None:
        redirect = dict(httpx.URL(url).params)["redirect_uri"]
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{redirect}?code=x&state=y", timeout=5
        ).close()

    client = client_of(server, grant=AuthorizationCode(server.authorize_url, forge))
    with anyio.fail_after(5), pytest.raises(TokenError, match="answer to another question"):
        await client.login()


async def test_a_login_that_nobody_answers_ends(server: LoopbackOAuth) -> None:
    client = client_of(server, grant=AuthorizationCode(server.authorize_url, lambda url: None, timeout=0.1))
    with anyio.fail_after(5), pytest.raises(TokenError, match=r"nobody consented within 0\.1 s"):
        await client.login()


async def test_a_session_that_was_ended_asks_for_a_new_login(server: LoopbackOAuth, tmp_path: Path) -> None:
    client = client_of(server, tmp_path)
    await client.login()
    stolen = client._keeper.held
    await expire(client)
    await client.token()
    thief = client_of(server)
    thief._keeper.held = stolen
    with pytest.raises(TokenError, match="log in again"):
        await thief.token()
    await expire(client)
    with pytest.raises(TokenError, match="log in again"):
        await client.token()
    assert not client.is_logged_in
    await client.login()
    assert await client.logout() is False
    assert not client.is_logged_in
    assert files_in(tmp_path) == []


async def test_no_token_of_a_login_is_seen(
    server: LoopbackOAuth, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(server, tmp_path)
    await client.login()
    held = client._keeper.held
    token = held.token
    assert token is not None
    assert token.refresh is not None
    seen = caplog.text + repr((client, held, token, client._grant, client._keeper._store, await client._endpoint(held)))
    for secret in (token.access, token.refresh):
        assert secret not in seen


async def test_a_damaged_token_file_is_as_good_as_none(server: LoopbackOAuth, tmp_path: Path) -> None:
    client = client_of(server, tmp_path)
    await client.login()
    (file,) = files_in(tmp_path)
    file.write_text('{"acc')
    with pytest.raises(TokenError, match="log in again"):
        await client_of(server, tmp_path).token()
