"""Every flow against npm's oidc-provider: strict about PKCE, rotation, proofs and resources; no part of it is ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import httpx2
import pytest
from pydantic import SecretStr

from corral.tools import (
    AuthorizationCode,
    ClientCredentials,
    DeviceCode,
    FileTokenStore,
    HttpServer,
    MCPServer,
    OAuthClient,
    Observation,
    PrivateKeyJwt,
    ServerLogin,
    TokenError,
    Tool,
    Toolbox,
    bearer,
)

from ..oidc import OIDC, browse, install
from .processes import Process, free_port

pytestmark = pytest.mark.node

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
GUARDED = [sys.executable, str(Path(__file__).parent / "servers" / "guarded.py")]
SCOPES = ("herd:read", "offline_access")
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2])


@dataclass
class World:
    """The provider, and an MCP server behind it."""

    oidc: OIDC
    mcp_url: str

    def client(self, client_id: str = "person", **options: Any) -> OAuthClient:
        given: dict[str, Any] = {"issuer": self.oidc.url, "scopes": SCOPES, "resource": self.oidc.api}
        given |= {"grant": AuthorizationCode(show=browse)} if client_id in ("person", "bound") else {}
        return OAuthClient(None, client_id, **given | options)

    def server(self, login: Any, **options: Any) -> MCPServer:
        return MCPServer("farm", HttpServer(self.mcp_url, auth=login, **options))

    async def ask(self, auth: Any, library: Any = httpx, **params: Any) -> dict[str, Any]:
        async with library.AsyncClient(auth=auth, trust_env=False, timeout=30) as http:
            response = await http.get(f"{self.oidc.api}/animals", params=params)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    folder = Path(request.config.cache.mkdir("oidc-provider"))
    install(folder)
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    oidc = OIDC(folder, url)
    with (
        oidc.process,
        Process([*GUARDED, str(port), f"{oidc.api}/check", oidc.url], r"ready (\d+)"),
    ):
        yield World(oidc, url)


@pytest.fixture(autouse=True)
def settled(world: World) -> None:
    world.oidc.set(ttl=600, delay=0, nonce=False)


@LIBRARIES
async def test_code_with_pkce_gives_a_token_for_the_resource_that_was_named(world: World, library: Any) -> None:
    client = world.client()
    await client.login()
    seen = await world.ask(bearer(client), library)
    assert (seen["aud"], seen["scope"]) == (world.oidc.api, "herd:read")
    assert world.oidc.seen() == ["authorization_code ok"]


async def test_refresh_tokens_rotate_and_an_old_one_ends_the_login(world: World, tmp_path: Path) -> None:
    world.oidc.set(ttl=1)
    client = world.client(store=FileTokenStore(tmp_path))
    await client.login()
    first = client._keeper.held
    with anyio.fail_after(20):
        while world.oidc.seen().count("refresh_token ok") < 2:
            for library in (httpx, httpx2):
                await world.ask(bearer(client), library)
    assert set(world.oidc.seen()[1:]) == {"refresh_token ok"}
    assert client._keeper.held.token != first.token
    thief = world.client()
    thief._keeper.held = first
    for robbed in (thief, client):
        token = robbed._keeper.held.token
        assert token is not None
        with pytest.raises(TokenError, match="nobody is logged in, or the login has ended; log in again"):
            await robbed.token(refused=token.access)


async def test_a_person_with_another_device_types_a_code(world: World) -> None:
    client = world.client(grant=DeviceCode(None, lambda url, code: browse(url)))
    with anyio.fail_after(30):
        await client.login()
    for library in (httpx, httpx2):
        assert (await world.ask(bearer(client), library))["sub"] == "mo"


@LIBRARIES
async def test_a_program_acts_for_itself_by_a_secret_of_any_characters(world: World, library: Any) -> None:
    client = world.client("machine", client_secret=world.oidc.secret, scopes=["herd:read"])
    assert (await world.ask(bearer(client), library))["sub"] == "machine"


@LIBRARIES
async def test_a_program_signs_instead_of_showing_a_secret(world: World, library: Any) -> None:
    key = PrivateKeyJwt(SecretStr(json.dumps(world.oidc.key.as_dict(private=True))))
    client = world.client("signer", assertion=key, scopes=["herd:read"])
    assert (await world.ask(bearer(client), library))["sub"] == "signer"
    pem = PrivateKeyJwt(SecretStr(world.oidc.key.as_pem(private=True).decode()), key_id="signer-1")
    assert await world.client("signer", assertion=pem, scopes=["herd:write"]).token()


@LIBRARIES
@pytest.mark.parametrize("nonce", [False, True])
async def test_a_token_that_is_bound_to_a_key_is_shown_with_proofs(world: World, library: Any, nonce: bool) -> None:
    world.oidc.set(nonce=nonce, ttl=600)
    client = world.client("bound", dpop=True)
    await client.login()
    assert (await world.ask(bearer(client), library))["bound"] is True
    # The provider's own resource refuses a proof that was seen before, and wants its nonces; it has tokens of its own.
    own = world.client("bound", dpop=True, scopes=["openid"], resource=None)
    await own.login()
    async with library.AsyncClient(auth=bearer(own), trust_env=False) as http:
        assert [(await http.get(f"{world.oidc.url}/me")).json() for _ in range(2)] == [{"sub": "mo"}] * 2


async def test_a_stolen_bound_token_is_of_no_use(world: World, tmp_path: Path) -> None:
    client = world.client("bound", dpop=True, store=FileTokenStore(tmp_path))
    await client.login()
    again = world.client("bound", dpop=True, store=FileTokenStore(tmp_path))
    assert (await world.ask(bearer(again)))["bound"] is True  # the store keeps the key with it
    token = await client.token()
    async with httpx.AsyncClient(trust_env=False) as thief:
        for scheme in ("Bearer", "DPoP"):
            assert (await thief.get(world.oidc.api, headers={"Authorization": f"{scheme} {token}"})).status_code == 401


async def test_a_login_from_before_its_tokens_were_bound_is_bound_when_it_is_renewed(
    world: World, tmp_path: Path
) -> None:
    before = world.client(store=FileTokenStore(tmp_path))
    await before.login()
    old = await before.token()
    for _ in range(2):  # the second is a restart
        client = world.client(dpop=True, store=FileTokenStore(tmp_path))
        await client.token(refused=old)
        assert (await world.ask(bearer(client)))["bound"] is True
    assert world.oidc.seen() == ["authorization_code ok", "refresh_token ok"]


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_a_clock_that_is_wrong_is_no_obstacle_to_what_is_signed(world: World, seconds: float) -> None:
    world.oidc.set(nonce=True)
    key = PrivateKeyJwt(SecretStr(json.dumps(world.oidc.key.as_dict(private=True))))
    bound, signer = world.client("bound", dpop=True), world.client("signer", assertion=key, scopes=["herd:read"])
    bound._keeper.clock._offset = signer._keeper.clock._offset = seconds
    await bound.login()
    assert (await world.ask(bearer(bound)))["bound"] is True
    assert (await world.ask(bearer(signer)))["sub"] == "signer"
    assert "client_credentials ok" in world.oidc.seen()


PROGRAM = """
import json, sys
import anyio, httpx
import authlib.integrations.httpx_client, joserfc.jwe  # heavy: both processes shall begin at once
from corral.tools import AuthorizationCode, FileTokenStore, OAuthClient, bearer

issuer, api, folder, count = sys.argv[1:]

async def main():
    client = OAuthClient(None, "person", issuer=issuer, scopes=["herd:read", "offline_access"], resource=api,
                         grant=AuthorizationCode(show=lambda url: sys.exit("it asked")), store=FileTokenStore(folder))
    tokens, answers = set(), set()
    async with httpx.AsyncClient(auth=bearer(client), trust_env=False) as http:
        while len(tokens) < int(count):
            answers.add((await http.get(api)).status_code)
            tokens.add(await client.token())
            await anyio.sleep(0.02)
    print(json.dumps(sorted(answers)))

print("ready", flush=True)
sys.stdin.readline()
anyio.run(main)
"""


def start_process(world: World, folder: Path, count: int) -> subprocess.Popen[str]:
    """One that uses the login until it has had as many tokens; it begins when it is told so."""
    command = [sys.executable, "-c", PROGRAM, world.oidc.url, world.oidc.api, str(folder), str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def finish(*processes: subprocess.Popen[str]) -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [(await anyio.to_thread.run_sync(process.communicate))[0].strip() for process in processes]


async def test_after_a_restart_an_expired_token_is_renewed_silently(world: World, tmp_path: Path) -> None:
    world.oidc.set(ttl=1)
    await world.client(store=FileTokenStore(tmp_path)).login()
    await anyio.sleep(1.1)
    world.oidc.set(ttl=600)
    assert await finish(start_process(world, tmp_path, 1)) == ["[200]"]
    assert world.oidc.seen() == ["refresh_token ok"]


async def test_fifty_calls_cause_one_refresh_and_hold_up_nobody(world: World) -> None:
    world.oidc.set(ttl=1)
    client = world.client()
    await client.login()
    await anyio.sleep(1.1)
    world.oidc.set(ttl=600, delay=200)
    start = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(lambda library: world.ask(bearer(client), library, wait=500), (httpx, httpx2)[number % 2])
    seconds = time.perf_counter() - start
    assert world.oidc.seen() == ["refresh_token ok"]
    assert seconds < 20, "fifty calls of half a second, one after another, take 25"


async def test_two_processes_share_a_refresh_token_without_revoking_each_other(world: World, tmp_path: Path) -> None:
    world.oidc.set(ttl=1)
    await world.client(store=FileTokenStore(tmp_path)).login()
    two = [start_process(world, tmp_path, 4) for _ in range(2)]
    assert await finish(*two) == ["[200]", "[200]"]
    refreshed = world.oidc.seen()[1:]
    assert set(refreshed) == {"refresh_token ok"}
    assert 3 <= len(refreshed) <= 5, "three or four for each would be six or eight"


@pytest.mark.parametrize("way", ["code", "device", "machine", "signer", "bound"])
async def test_an_mcp_server_is_logged_in_to_in_each_way(perform: Perform, world: World, way: str) -> None:
    key = PrivateKeyJwt(SecretStr(json.dumps(world.oidc.key.as_dict(private=True))))
    login = {
        "code": ServerLogin(browse),  # registers itself
        "device": ServerLogin(client_id="person", grant=DeviceCode(None, lambda url, code: browse(url))),
        "machine": ServerLogin(
            client_id="machine", client_secret=SecretStr(world.oidc.secret), grant=ClientCredentials()
        ),
        "signer": ServerLogin(client_id="signer", client_assertion=key, grant=ClientCredentials()),
        "bound": ServerLogin(browse, client_id="bound", dpop=True),
    }[way]
    async with Toolbox(world.server(login)) as box:
        assert box.failures == {}
        seen = json.loads((await perform(box["farm_whoami"], {})).text)
    assert seen["aud"] == world.mcp_url
    assert seen["bound"] == (way == "bound")


@pytest.mark.parametrize("way", ["login", "client"])
async def test_concurrent_mcp_calls_cause_one_refresh_and_hold_up_nobody(
    perform: Perform, world: World, way: str
) -> None:
    world.oidc.set(ttl=2)
    client = world.client(resource=world.mcp_url)
    if way == "client":
        await client.login()
    auth = client if way == "client" else ServerLogin(browse, client_id="person")
    async with Toolbox(world.server(auth)) as box:
        assert box.failures == {}
        await anyio.sleep(2.1)
        world.oidc.set(ttl=600)
        start = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(perform, box["farm_wait"], {})
        seconds = time.perf_counter() - start
    assert world.oidc.seen() == ["refresh_token ok"]
    assert seconds < 8, "twenty calls of half a second, one after another, take 10"


async def test_an_mcp_login_is_renewed_silently_by_another_process(
    perform: Perform, world: World, tmp_path: Path
) -> None:
    world.oidc.set(ttl=1)
    async with Toolbox(world.server(ServerLogin(browse, tmp_path))) as box:
        assert box.failures == {}
    await anyio.sleep(1.1)
    async with Toolbox(world.server(ServerLogin(pytest.fail, tmp_path))) as box:
        assert box.failures == {}
        assert not (await perform(box["farm_whoami"], {})).is_error
    assert world.oidc.seen().count("authorization_code ok") == 1


async def test_a_tool_that_needs_more_scopes_asks_the_person_once_more(perform: Perform, world: World) -> None:
    asked: list[str] = []

    def consent(url: str) -> None:
        asked.append(dict(httpx.URL(url).params)["scope"])
        browse(url)

    async with Toolbox(world.server(ServerLogin(consent, client_id="person"))) as box:
        assert (await perform(box["farm_whoami"], {})).text
        written = await perform(box["farm_write"], {})
        assert (await perform(box["farm_whoami"], {})).text
    assert "herd:write" in json.loads(written.text)["scope"]
    assert [set(each.split()) for each in asked] == [
        {"herd:read", "offline_access"},
        {"herd:read", "herd:write", "offline_access"},
    ]


async def test_a_login_that_was_ended_at_the_server_says_what_to_do(
    perform: Perform, world: World, tmp_path: Path
) -> None:
    login = ServerLogin(browse, tmp_path, client_id="person")
    async with Toolbox(world.server(login)) as box:
        assert box.failures == {}
    from corral.tools.login_flow import LoginFlow

    assert await LoginFlow(login, world.mcp_url).logout() is True
    silent = ServerLogin(
        pytest.fail, tmp_path, client_id="person", ask=False, advice="log in with `corral auth login farm`"
    )
    async with Toolbox(world.server(silent)) as box:
        assert "nobody is logged in; log in with `corral auth login farm`" in box.failures["farm"]
