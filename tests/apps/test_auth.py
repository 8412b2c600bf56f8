"""`corral auth`, against npm's oidc-provider and an MCP server behind it: the browser is a program that consents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.tools import FileTokenStore

from ..oidc import OIDC, browse, install
from ..tools.processes import Process, free_port
from .conftest import Corral

pytestmark = pytest.mark.node

TESTS = Path(__file__).parents[1]
GUARDED = [sys.executable, str(TESTS / "tools" / "servers" / "guarded.py")]
BROWSER = f"{sys.executable} {TESTS / 'tools' / 'servers' / 'browser.py'} %s"
CONFIG = ("--mcp-config", "mcp.json")
CALL = ("tools", "call", "farm_whoami", *CONFIG, "--yes-to", "tool:farm/*")


@dataclass
class World:
    oidc: OIDC
    mcp_url: str

    def write(self, folder: Path, **entries: dict[str, Any]) -> None:
        servers = {"farm": {"url": self.mcp_url, "login": True}, **entries}
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    folder = Path(request.config.cache.mkdir("oidc-provider"))
    install(folder)
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    oidc = OIDC(folder, url)
    with oidc.process, Process([*GUARDED, str(port), f"{oidc.api}/check", oidc.url], r"ready (\d+)"):
        yield World(oidc, url)


@pytest.fixture(autouse=True)
def settled(world: World, tmp_path: Path) -> None:
    world.oidc.set(ttl=600, delay=0, nonce=False)
    world.write(tmp_path)


def secrets_below(folder: Path) -> list[str]:
    texts = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return [word for word in ("access_token", "refresh_token", '"access"') for text in texts if word in text]


def revoke(world: World, home: Path) -> None:
    """End the login at the server, as its owner can there."""
    folder = home / "data" / "logins"
    (path,) = folder.glob("*.json")
    login = FileTokenStore(folder).load(path.stem)
    assert login is not None
    assert login.token is not None
    form = {"token": login.token.refresh, "client_id": (login.client or {})["client_id"]}
    httpx.post(f"{world.oidc.url}/token/revocation", data=form, trust_env=False).raise_for_status()


def test_a_person_logs_in_once_and_runs_use_the_login_until_they_log_out(
    corral: Corral, world: World, tmp_path: Path
) -> None:
    assert corral("auth", "status", *CONFIG).stdout == "farm  nobody is logged in\n"
    refused = corral(*CALL)
    assert refused.returncode != 0
    assert "nobody is logged in; log in with `corral auth login farm --mcp-config mcp.json`" in refused.stderr

    done = corral("auth", "login", "farm", *CONFIG, BROWSER=BROWSER)
    assert (done.returncode, done.stdout) == (0, "logged in to farm, renewed when it is used\n"), done.stderr
    assert f"{world.oidc.url}/auth?" in done.stderr
    assert json.loads(corral(*CALL).stdout)["sub"] == "mo"
    state = json.loads(corral("auth", "status", "farm", *CONFIG, "--json").stdout)
    assert (state["ok"], state["state"]) == (True, "logged in")
    assert secrets_below(tmp_path) == []

    ended = corral("auth", "logout", "farm", *CONFIG)
    assert (ended.returncode, ended.stdout) == (0, "logged out of farm\n"), ended.stderr
    assert corral("auth", "status", *CONFIG).returncode == 1
    assert corral("auth", "logout", "farm", *CONFIG).stdout == "farm: nobody is logged in\n"


def test_a_run_by_a_model_uses_the_login_and_the_model_sees_no_token(corral: Corral, tmp_path: Path) -> None:
    corral("auth", "login", "farm", *CONFIG, BROWSER=BROWSER)
    with ScriptedServer([Reply(Call("farm_whoami")), "It is mo."]) as server:
        where = ("--model", "openai/m", "--api-base", server.url, *CONFIG)
        done = corral("run", "Who am I?", *where, "--yes-to", "tool:farm/*")
    assert (done.returncode, done.stdout) == (0, "It is mo.\n"), done.stderr


def test_a_tool_that_needs_more_says_which_scopes_and_a_login_with_them_suffices(corral: Corral) -> None:
    write = ("tools", "call", "farm_write", *CALL[3:])
    corral("auth", "login", "farm", *CONFIG, BROWSER=BROWSER)
    refused = corral(*write)
    assert "nobody is logged in with the scopes 'herd:write'; log in with `corral auth login farm" in refused.stderr
    done = corral("auth", "login", "farm", *CONFIG, "--scope", "herd:write", BROWSER=BROWSER)
    assert done.returncode == 0, done.stderr
    assert "herd:read" in json.loads(corral(*write).stdout)["scope"]


def test_an_expired_login_is_renewed_and_one_that_was_ended_elsewhere_says_what_to_do(
    corral: Corral, world: World, tmp_path: Path
) -> None:
    world.oidc.set(ttl=1)
    corral("auth", "login", "farm", *CONFIG, BROWSER=BROWSER)
    time.sleep(1.1)
    assert json.loads(corral(*CALL).stdout)["sub"] == "mo"
    assert set(world.oidc.seen()[1:]) == {"refresh_token ok"}
    revoke(world, tmp_path)
    time.sleep(1.1)
    done = corral(*CALL)
    assert done.returncode == 2
    assert "log in with `corral auth login farm" in done.stderr


def test_another_device_logs_in_by_a_code(corral: Corral, world: World, tmp_path: Path) -> None:
    world.write(tmp_path, farm={"url": world.mcp_url, "login": {"client_id": "person"}})
    command = [sys.executable, "-m", "corral.apps", "auth", "login", "farm", *CONFIG, "--device"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                browse(found[0])
                break
        assert process.wait(30) == 0


def test_an_issuer_is_logged_in_to_by_its_url(corral: Corral, world: World, tmp_path: Path) -> None:
    url = world.oidc.url
    unknown = corral("auth", "login", url)
    assert (unknown.returncode, "with --client-id" in unknown.stderr) == (2, True)
    scopes = ("--scope", "herd:read", "--scope", "offline_access", "--resource", world.mcp_url)
    done = corral("auth", "login", url, "--client-id", "person", *scopes, BROWSER=BROWSER)
    assert done.returncode == 0, done.stderr
    assert corral("auth", "status").stdout.startswith(f"{url}  logged in")
    oauth = {
        "issuer": url,
        "client_id": "person",
        "scopes": ["herd:read", "offline_access"],
        "resource": world.mcp_url,
        "grant": "person",
    }
    world.write(tmp_path, farm={"url": world.mcp_url, "oauth": oauth})
    assert json.loads(corral(*CALL).stdout)["sub"] == "mo"
    assert corral("auth", "logout", "--all", *CONFIG).returncode == 0
    assert corral(*CALL).returncode != 0
    assert corral("auth", "status").stdout == ""


def test_programs_need_no_person(corral: Corral, world: World, tmp_path: Path) -> None:
    oauth = {
        "issuer": world.oidc.url,
        "client_id": "machine",
        "client_secret": "${SECRET}",
        "scopes": ["herd:read"],
        "resource": world.mcp_url,
    }
    key = tmp_path / "key.json"
    key.write_text(json.dumps(world.oidc.key.as_dict(private=True)))
    login = {"client_id": "signer", "private_key_file": str(key), "grant": "client_credentials"}
    world.write(tmp_path, farm={"url": world.mcp_url, "oauth": oauth}, signed={"url": world.mcp_url, "login": login})
    assert json.loads(corral(*CALL, SECRET=world.oidc.secret).stdout)["sub"] == "machine"
    signed = corral("tools", "call", "signed_whoami", *CALL[3:-1], "tool:*", SECRET=world.oidc.secret)
    assert json.loads(signed.stdout)["sub"] == "signer"
    status = corral("auth", "status", *CONFIG)
    assert (status.returncode, status.stdout) == (0, "farm  needs no person\nsigned  needs no person\n")


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("login", "frm", *CONFIG), 2, "did you mean farm?"),
        (("login", "farm"), 2, "farm is no URL, and no mcpServers file was given: --mcp-config FILE"),
        (("login", "http://auth.example"), 2, "over https only, except on this machine"),
        (("login", "http://127.0.0.1:9/mcp"), 1, "it can't be reached (ConnectError)"),
        (("login", "farm", *CONFIG, "--no-browser", "--timeout", "0.2"), 1, "nobody consented within 0.2 s"),
        (("logout",), 2, "say which login to end, or --all"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_one_sentence(
    corral: Corral, arguments: tuple[str, ...], status: int, problem: str
) -> None:
    done = corral("auth", *arguments)
    assert done.returncode == status, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert problem in last
    assert last.startswith("corral: ")


def test_a_passphrase_locks_the_logins(corral: Corral, tmp_path: Path) -> None:
    corral("auth", "login", "farm", *CONFIG, BROWSER=BROWSER, CORRAL_TOKEN_PASSPHRASE="a horse")
    wrong = corral(*CALL, CORRAL_TOKEN_PASSPHRASE="a mule")
    assert "encrypted with another passphrase" in wrong.stderr
    assert json.loads(corral(*CALL, CORRAL_TOKEN_PASSPHRASE="a horse").stdout)["sub"] == "mo"
    assert not list((tmp_path / "data" / "logins").glob("*.key"))
