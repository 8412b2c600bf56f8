"""The `mcpServers` file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.tools import (
    FileTokenStore,
    HttpServer,
    MCPServer,
    OAuthClient,
    ServerLogin,
    StdioServer,
    ToolConfigError,
    load_mcp_config,
)
from corral.tools.variables import expand


def write(folder: Path, servers: Any) -> Path:
    path = folder / "servers.json"
    path.write_text(servers if isinstance(servers, str) else json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path


def test_entries_become_servers_in_their_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "time": {"command": "mcp-server-time", "args": ["--utc"], "env": {"TOKEN": "${TOKEN}"}, "type": "stdio"},
            "off": {"command": "x", "disabled": True},
            "disk": {
                "command": "disk",
                "cwd": "/srv",
                "trust": True,
                "timeout": 5,
                "tools": {"include": ["read*"], "exclude": ["read_all"]},
                "autoApprove": ["read"],
            },
        },
    )
    first, second = load_mcp_config(path)
    assert (first.name, first.config) == ("time", StdioServer("mcp-server-time", ("--utc",), {"TOKEN": "${TOKEN}"}))
    assert second.config == StdioServer("disk", (), {}, "/srv", True, 5.0, ("read*",), ("read_all",))


def test_how_long_a_server_may_take_to_start_is_said_by_its_entry(tmp_path: Path) -> None:
    entries = {"slow": {"command": "uvx", "connect_timeout": 90}, "other": {"command": "x"}}
    slow, other = load_mcp_config(write(tmp_path, entries), connect_timeout=5)
    assert (slow._connect_timeout, other._connect_timeout) == (90, 5)


def test_roots_are_folders_beside_the_file(tmp_path: Path) -> None:
    (server,) = load_mcp_config(write(tmp_path, {"disk": {"command": "disk", "roots": ["barn", "/srv/hay bales"]}}))
    assert server._handlers is not None
    assert server._handlers.roots == ((tmp_path / "barn").as_uri(), "file:///srv/hay%20bales")


def test_entries_with_a_url_are_servers_over_http(tmp_path: Path) -> None:
    oauth = {"token_url": "https://auth.example/token", "client_id": "me", "client_secret": "${SECRET}"}
    path = write(
        tmp_path,
        {
            "plain": {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
            "typed": {"type": "streamable-http", "url": "http://127.0.0.1:1/mcp", "trust": True},
            "older": {"type": "sse", "url": "http://localhost:1/sse"},
            "person": {"url": "https://c.example/mcp", "login": True},
            "signed": {"type": "http", "url": "https://b.example/mcp", "oauth": oauth},
        },
    )
    plain, typed, older, person, signed = (each.config for each in load_mcp_config(path, logins=tmp_path))
    assert isinstance(person, HttpServer)
    assert isinstance(person.auth, ServerLogin)
    assert (repr(person.auth.kept_in), person.auth.ask) == (repr(FileTokenStore(tmp_path)), False)
    assert person.auth.advice == "log in to person again"
    assert plain == HttpServer("https://a.example/mcp", {"Authorization": "Bearer ${TOKEN}"})
    assert typed == HttpServer("http://127.0.0.1:1/mcp", trust=True)
    assert older == HttpServer("http://localhost:1/sse", sse=True)
    assert isinstance(signed, HttpServer)
    assert isinstance(signed.auth, OAuthClient)


def test_a_wrong_secret_in_the_file_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    oauth = {"token_url": "https://auth.example/token", "client_id": "me", "client_secret": 12345678}
    with pytest.raises(ToolConfigError) as caught:
        load_mcp_config(write(tmp_path, {"a": {"url": "https://x", "oauth": oauth}}))
    assert "client_secret" in str(caught.value)
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ("{", "servers.json:1: this is not JSON"),
        ("[]", 'servers.json: expected {"mcpServers"'),
        ({"a": []}, "servers.json: server 'a': expected an object with a command"),
        ({"a": {}}, "servers.json: server 'a': command: it is required"),
        ({"a": {"command": ""}}, "servers.json: server 'a': command: String should have at least 1 character"),
        ({"a": {"command": "x", "args": "y"}}, "server 'a': args: Input should be a valid list"),
        ({"a": {"command": "x", "args": [1]}}, "server 'a': args.0: Input should be a valid string, not 1"),
        ({"a": {"command": "x", "env": {"K": 1}}}, "server 'a': env.K: Input should be a valid string"),
        ({"a": {"command": "x", "timeout": 0}}, "server 'a': timeout: Input should be greater than 0"),
        ({"a": {"command": "x", "comand": 1}}, "server 'a': comand: unknown key; did you mean 'command'?"),
        ({"a": {"command": "x", "trust": "yes"}}, "server 'a': trust: Input should be a valid boolean"),
        ({"a": {"type": "sse"}}, "server 'a': url: it is required"),
        ({"a": {"url": "ftp://x"}}, "server 'a': url: expected a URL that begins with https:// or http://"),
        ({"a": {"url": "https://u:p@x/mcp"}}, "server 'a': url: it has a user or password in it"),
        (
            {"a": {"url": "http://x.org", "headers": {"Authorization": "a"}}},
            "server 'a': url: tokens and secret headers",
        ),
        ({"a": {"url": "https://x", "command": "y"}}, "server 'a': command: unknown key; known are"),
        ({"a": {"url": "https://x", "oauth": {"token_url": "x"}}}, "server 'a': oauth.client_id: it is required"),
        ({"a": {"type": "pipe", "command": "x"}}, "server 'a': type: expected 'stdio', 'http' or 'sse', not 'pipe'"),
        ({"a/b": {"command": "x"}}, "server 'a/b': a server's name is printable, has no '/'"),
        ({"local": {"command": "x"}}, "server 'local': a server's name is printable"),
    ],
)
def test_what_is_wrong_is_told_by_file_server_and_key(tmp_path: Path, servers: Any, problem: str) -> None:
    with pytest.raises(ToolConfigError) as caught:
        load_mcp_config(write(tmp_path, servers))
    assert problem in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolConfigError, match=r"nowhere\.json: the file can't be read: No such file"):
        load_mcp_config(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}/x", "1/x"),
        ("${B:-two}${A:-two}", "two1"),
        ("${EMPTY}|${EMPTY:-x}", "|x"),
        ("${B:-}", ""),
        ("$A ${} ${a b}", "$A ${} ${a b}"),
        ("${NESTED}", "${A}"),
        ("Bearer ${env:A}", "Bearer 1"),
        ("${env:EMPTY:-x}", "x"),
    ],
)
def test_variables_are_expanded_once(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "EMPTY": "", "NESTED": "${A}"}) == expanded


@pytest.mark.parametrize("text", ["${B}", "${env:B}", "${input:token}"])
def test_a_reference_to_nothing_is_never_sent_as_it_stands(text: str) -> None:
    with pytest.raises(LookupError) as caught:
        expand(f"Bearer {text}", {"A": "1"})
    assert caught.value.args[0] == text.replace("env:", "")


async def test_a_variable_that_is_not_set_is_told_when_the_server_is_opened(tmp_path: Path) -> None:
    from corral.tools import Toolbox

    path = write(tmp_path, {"mail": {"command": "x", "env": {"KEY": "${MAIL_KEY}"}}})
    async with Toolbox(*load_mcp_config(path, environ={})) as box:
        assert box.failures == {"mail": "mail: its configuration needs ${MAIL_KEY}, which is not set"}


def test_a_server_is_named_so_that_resources_are_unambiguous() -> None:
    for name in ("", "a/b", "a\nb", "local"):
        with pytest.raises(ToolConfigError):
            MCPServer(name, StdioServer("x"))
