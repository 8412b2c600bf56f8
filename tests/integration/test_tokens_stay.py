"""A whole run over OAuth: tokens rotate, servers tell them wherever they can, and nobody else gets to see one."""

from __future__ import annotations

import base64
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from corral.agents import CodeAct, Journal, ModelSpec, ReAct
from corral.agents.testing import Call, Reply, ScriptedServer
from corral.policy import ChainedAudit, Event, Policy, SecurityPolicy
from corral.sandbox import DockerProvider, MontyProvider
from corral.tools import (
    Artifacts,
    AuthorizationCode,
    Endpoint,
    FileTokenStore,
    HttpServer,
    HttpTools,
    MCPServer,
    OAuthClient,
    ServerLogin,
    Toolbox,
)

from ..oidc import OIDC, browse, install
from ..tools.processes import Process, free_port

pytestmark = pytest.mark.node

GUARDED = [sys.executable, str(Path(__file__).parents[1] / "tools" / "servers" / "guarded.py")]
LOOK = """
import os
found = str(dict(os.environ))
for path in ("/proc/self/environ", "/proc/1/environ", "/proc/self/cmdline"):
    try:
        found += open(path, "rb").read().decode("latin-1")
    except Exception as error:
        found += str(error)
print(found)
"""
PASS_ON = """
got = ""
for mode in ("", "error", "raise"):
    try:
        got += str(farm_leak(mode=mode))
    except Exception as error:
        got += str(error)
got += str(api_whoami())
print(got)
print(got[::-1])
print("hex", "".join([format(ord(c), "x") for c in got]))
"""


def written(token: str) -> set[str]:
    """As somebody who has it would write it down."""
    forms = {token, token[::-1], token.encode().hex(), quote(token, safe="")}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + token.encode() + b"\0" * 3).decode()
        forms.add(encoded[4 * bool(before) : 4 * ((before + len(token)) // 3)])
    return forms


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def oidc(request: pytest.FixtureRequest) -> Iterator[OIDC]:
    folder = Path(request.config.cache.mkdir("oidc-provider"))
    install(folder)
    port = free_port()
    oidc = OIDC(folder, f"http://127.0.0.1:{port}/mcp")
    with oidc.process:
        command = [*GUARDED, str(port), f"{oidc.api}/check", oidc.url]
        with Process(command, r"ready (\d+)", env={"LEAKY": "1"}):
            yield oidc


class Run:
    """One run, and every place that it could have left a token in."""

    def __init__(self, oidc: OIDC, folder: Path) -> None:
        self.oidc = oidc
        self.folder = folder
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def tools(self) -> list[Any]:
        store = FileTokenStore(self.folder / "logins")
        client = OAuthClient(
            None,
            "person",
            issuer=self.oidc.url,
            scopes=["herd:read", "offline_access"],
            resource=self.oidc.api,
            grant=AuthorizationCode(show=browse),
            store=store,
        )
        await client.login()
        return [
            MCPServer("farm", HttpServer(self.oidc.resource, auth=ServerLogin(browse, store=store))),
            HttpTools("api", self.oidc.api, Endpoint("whoami", "GET", "/"), auth=client),
        ]

    async def play(self, kind: Any, script: Any, **more: Any) -> dict[str, str]:
        self.oidc.set(ttl=1)
        audit = ChainedAudit(self.folder / "audit.jsonl")
        policy = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])], redact="off")
        with ScriptedServer(script) as server, Journal(self.folder / "runs.sqlite3") as journal:
            agent = kind(
                "task -> answer",
                Toolbox(*await self.tools(), strict=True, artifacts=Artifacts(self.folder / "results")),
                lm=ModelSpec(model="openai/m", api_base=server.url),
                policy=policy,
                audit=audit,
                journal=journal,
                sinks=[self],
                **more,
            )
            result = await agent.run("Tell me all you know")
            prompts = json.dumps(server.bodies, ensure_ascii=False)
        audit.close()
        assert result.ok, result.detail
        assert self.oidc.seen().count("refresh_token ok") >= 2, "the tokens should have rotated"
        events = json.dumps([event.to_json() for event in self.events], ensure_ascii=False, default=str)
        places = {"prompts": prompts, "result": repr((result, result.messages)), "events": events, "agent": repr(agent)}
        assert "[hidden]" in prompts, "the server told the token, and it was taken out"
        assert "[hidden]" in events
        return places | files_below(self.folder)


def by_calling(body: dict[str, Any], number: int) -> Reply:
    modes = ("", "error", "raise")
    if number < 6:
        threading.Event().wait(0.5)  # tokens end within a second
        return Reply(calls=[Call("farm_leak", {"mode": modes[number % 3]}), Call("api_whoami")])
    return Reply(f"It is {json.dumps(body['messages'])}")


def by_code(body: dict[str, Any], number: int) -> Reply:
    cells = [LOOK, PASS_ON, PASS_ON, "SUBMIT(answer=got)"]
    threading.Event().wait(0.6)
    return Reply(calls=[Call("python", {"code": cells[min(number, 3)]})])


def found(oidc: OIDC, places: dict[str, str]) -> set[str]:
    """The places that have a token."""
    tokens = oidc.tokens()
    assert len(tokens) >= 8
    forms = {form for token in tokens for form in written(token)}
    return {place for place, text in places.items() if any(form in text for form in forms)}


async def test_calls_bring_no_token_to_prompts_events_files_or_logs(
    oidc: OIDC, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        places = await Run(oidc, tmp_path).play(ReAct, by_calling)
    out, err = capfd.readouterr()
    assert {"audit.jsonl", "runs.sqlite3"} < set(places)
    assert found(oidc, places | {"logs": caplog.text, "out": out, "err": err}) == set()


@pytest.mark.docker
async def test_code_in_a_container_sees_no_token(
    oidc: OIDC, tmp_path: Path, docker_image: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with DockerProvider() as provider:
        with caplog.at_level(logging.DEBUG):
            places = await Run(oidc, tmp_path).play(CodeAct, by_code, sandbox=provider)
    assert "HOME" in places["prompts"]  # it looked around
    assert found(oidc, places | {"logs": caplog.text, "output": "".join(capfd.readouterr())}) == set()


async def test_code_in_monty_sees_no_token(oidc: OIDC, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cell = "got = str(farm_leak(mode='')) + str(api_whoami())\nprint(got)\nprint(got[::-1])"

    def script(body: dict[str, Any], number: int) -> Reply:
        threading.Event().wait(0.6)
        cells = [cell, cell, cell, "SUBMIT(answer=got)"]
        return Reply(calls=[Call("python", {"code": cells[min(number, 3)]})])

    async with MontyProvider() as provider:
        with caplog.at_level(logging.DEBUG):
            places = await Run(oidc, tmp_path).play(CodeAct, script, sandbox=provider)
    assert found(oidc, places | {"logs": caplog.text}) == set()


async def test_a_login_that_fails_names_no_token(oidc: OIDC, tmp_path: Path) -> None:
    run = Run(oidc, tmp_path)
    _, api = await run.tools()
    client = api._auth
    token = client._keeper.held.token
    other = OAuthClient(None, "person", issuer=oidc.url, scopes=["herd:read", "offline_access"], resource=oidc.api)
    other._keeper.held = client._keeper.held
    await other.logout()
    with anyio.fail_after(10), pytest.raises(Exception, match="log in again") as caught:
        await client.token(refused=token.access)
    assert found(oidc, {"error": repr(caught.value) + str(caught.value) + str(caught.value.__cause__)}) == set()
