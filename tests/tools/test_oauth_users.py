"""Several users of one API and one MCP server: a call made for one never carries another's token."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from corral.policy import Action, Gate
from corral.tools import (
    AuthorizationCode,
    Endpoint,
    FileTokenStore,
    HttpServer,
    HttpTools,
    MCPServer,
    OAuthClient,
    Observation,
    PerUser,
    ServerLogin,
    TokenError,
    Tool,
    Toolbox,
)

from ..oidc import OIDC, browse, install
from .processes import Process, free_port

pytestmark = pytest.mark.node

GUARDED = [sys.executable, str(Path(__file__).parent / "servers" / "guarded.py")]
USERS = ("ada", "bob", "cyd")


@pytest.fixture(scope="module")
def oidc(request: pytest.FixtureRequest) -> Iterator[OIDC]:
    folder = Path(request.config.cache.mkdir("oidc-provider"))
    install(folder)
    port = free_port()
    oidc = OIDC(folder, f"http://127.0.0.1:{port}/mcp")
    with oidc.process, Process([*GUARDED, str(port), f"{oidc.api}/check", oidc.url], r"ready (\d+)"):
        yield oidc


async def ask_for(gate: Gate, user: str, tool: Tool) -> Observation:
    action = Action(tool.resource, "call", user=f"user:{user}")
    return await gate.perform(action, lambda admission: tool.call({}, admission))


async def ask_all(gate: Gate, tool: Tool, rounds: int = 3) -> dict[str, set[str]]:
    """As whom each user's calls arrived, all of them at once."""
    seen: dict[str, set[str]] = {user: set() for user in USERS}

    async def ask(user: str) -> None:
        said = await ask_for(gate, user, tool)
        assert not said.is_error, said.text
        seen[user].add(json.loads(said.text)["sub"])

    async with anyio.create_task_group() as group:
        for _ in range(rounds):
            for user in USERS:
                group.start_soon(ask, user)
    return seen


async def test_calls_of_an_api_carry_the_token_of_the_user_they_are_made_for(
    oidc: OIDC, gate: Gate, tmp_path: Path
) -> None:
    def client_of(user: str) -> OAuthClient:
        if user == "user:mallory":
            raise TokenError("the farm", "mallory has no login")
        name = user.removeprefix("user:")
        return OAuthClient(
            None,
            "person",
            issuer=oidc.url,
            scopes=["herd:read", "offline_access"],
            resource=oidc.api,
            grant=AuthorizationCode(show=lambda url: browse(url, name)),
            store=FileTokenStore(tmp_path),
            user=user,
        )

    for user in USERS:
        await client_of(f"user:{user}").login()
    oidc.set(ttl=1)
    async with Toolbox(HttpTools("farm", oidc.api, Endpoint("whoami", "GET", "/"), auth=PerUser(client_of))) as box:
        assert await ask_all(gate, box["farm_whoami"]) == {user: {user} for user in USERS}
        await anyio.sleep(1.1)
        assert await ask_all(gate, box["farm_whoami"]) == {user: {user} for user in USERS}
        refused = await ask_for(gate, "mallory", box["farm_whoami"])
        unknown = await ask_for(gate, "nobody", box["farm_whoami"])
    assert (refused.is_error, "mallory has no login" in refused.text) == (True, True)
    assert (unknown.is_error, "nobody is logged in" in unknown.text) == (True, True)


async def test_logins_to_an_mcp_server_are_each_users_own(oidc: OIDC, gate: Gate, tmp_path: Path) -> None:
    oidc.set(ttl=600)
    asked: list[str] = []

    def login_of(user: str) -> ServerLogin:
        name = user.removeprefix("user:")

        def show(url: str) -> None:
            asked.append(name)
            browse(url, name)

        return ServerLogin(show, tmp_path, client_id="person", user=user)

    config = HttpServer(oidc.resource, auth=PerUser(login_of, listing="user:lister"))
    for _ in range(2):  # the second time from the store
        async with Toolbox(MCPServer("farm", config)) as box:
            assert box.failures == {}
            assert await ask_all(gate, box["farm_whoami"]) == {user: {user} for user in USERS}
    assert sorted(asked) == [*USERS, "lister"]


async def test_one_user_who_logs_out_leaves_the_others_logged_in(oidc: OIDC, tmp_path: Path) -> None:
    def client_of(user: str) -> OAuthClient:
        return OAuthClient(
            None,
            "person",
            issuer=oidc.url,
            scopes=["herd:read", "offline_access"],
            resource=oidc.api,
            grant=AuthorizationCode(show=lambda url: browse(url, user)),
            store=FileTokenStore(tmp_path),
            user=user,
        )

    for user in ("ada", "bob"):
        await client_of(user).login()
    token = await client_of("ada").token()
    assert await client_of("ada").logout() is True
    assert client_of("bob").is_logged_in
    assert not client_of("ada").is_logged_in
    async with httpx.AsyncClient(trust_env=False) as http:
        said: Any = await http.get(oidc.api, headers={"Authorization": f"Bearer {token}"})
    assert said.status_code == 401
