"""`corral mcp add`, `list` and `check`, and what `corral tools` says where there is nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from corral.apps.main import cli

TIME = ("--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC")


@pytest.fixture
def corral(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "data"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    return run


def test_servers_are_added_listed_and_tried(corral: Any, tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"theme": "dark"}')
    assert corral("mcp", "add", "time", *TIME).exit_code == 0
    assert corral("mcp", "add", "ghost", "--", "no-such-command").exit_code == 0
    header = "Authorization=Bearer ${FARM_TOKEN}"
    assert corral("mcp", "add", "farm", "--url", "https://farm.example/mcp", "--header", header).exit_code == 0
    written = json.loads((tmp_path / "mcp.json").read_text())
    assert written["theme"] == "dark"
    assert written["mcpServers"]["farm"]["headers"] == {"Authorization": "Bearer ${FARM_TOKEN}"}
    listed = [json.loads(line) for line in corral("mcp", "list", "--json").stdout.splitlines()]
    assert [(one["name"], one["disabled"]) for one in listed] == [("time", False), ("ghost", False), ("farm", False)]
    checked = corral("mcp", "check", "time", "ghost", "--json")
    time, ghost = (json.loads(line) for line in checked.stdout.splitlines())
    assert checked.exit_code == 1
    assert (time["ok"], time["tools"]) == (True, ["time_get_current_time", "time_convert_time"])
    assert (ghost["ok"], "was not found; install it" in ghost["problem"]) == (False, True)
    assert corral("mcp", "add", "barn", "--required", *TIME).exit_code == 0
    assert json.loads((tmp_path / "mcp.json").read_text())["mcpServers"]["barn"]["required"] is True
    told = corral("mcp", "check", "ghost").stdout
    assert told.startswith("ghost  failed: the command 'no-such-command' was not found")


def test_a_tool_is_called_by_hand_beside_a_dead_server_even_a_required_one(corral: Any) -> None:
    corral("mcp", "add", "time", *TIME)
    corral("mcp", "add", "dead", "--url", "http://127.0.0.1:9/mcp", "--required")
    called = corral("tools", "call", "time_get_current_time", '{"timezone": "UTC"}', "--yes-to", "tool:time/*")
    assert (called.exit_code, called.stderr) == (0, "")  # nobody asked the other server
    shown = corral("tools", "show", "time_get_current")
    assert shown.stderr.count("corral: going on without dead: the server can't be reached") == 1
    assert (shown.exit_code, "did you mean time_get_current_time" in shown.stderr) == (2, True)
    assert corral("tools", "list").exit_code == 1
    assert corral("tools", "lock").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("add", "x"), "give a command after --, or --url"),
        (("add", "x", "--url", "https://x.example", "--header", "X-Api-Key=abc"), "write a secret as ${VARIABLE}"),
        (
            ("add", "x", "--url", "ftp://x.example"),
            "corral: mcp.json: server 'x': url: expected a URL",
        ),
        (("add", "x", "--url", "https://x.example", "--env", "A=1"), "--env does not go with --url"),
        (("add", "x", "--header", "A=1", "--", "run"), "--headers does not go with a command"),
        (("list",), "there is no mcp.json; make one with `corral mcp add`"),
        (("check",), "the file can't be read"),
    ],
)
def test_what_can_not_be_right_is_told_and_nothing_is_written(
    corral: Any, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = corral("mcp", *arguments)
    assert done.exit_code == 2
    assert problem in done.stderr
    assert not (tmp_path / "mcp.json").exists()


def test_an_entry_is_replaced_only_on_demand(corral: Any, tmp_path: Path) -> None:
    corral("mcp", "add", "x", "--", "one")
    assert "--replace" in corral("mcp", "add", "x", "--", "two").stderr
    assert json.loads((tmp_path / "mcp.json").read_text())["mcpServers"]["x"]["command"] == "one"
    assert corral("mcp", "add", "x", "--replace", "--", "two").exit_code == 0
    assert json.loads((tmp_path / "mcp.json").read_text())["mcpServers"]["x"]["command"] == "two"


def test_where_there_is_nothing_something_is_said(corral: Any, tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}')
    for arguments, said in (
        (("mcp", "list"), "mcp.json names no servers"),
        (("mcp", "check"), "mcp.json names no servers"),
        (("tools", "list", "--mcp-config", "mcp.json"), "there are no tools"),
        (("tools", "search", "hay", "--mcp-config", "mcp.json"), "none of 0 tools fits these words"),
    ):
        done = corral(*arguments)
        assert (done.stdout, said in done.stderr) == ("", True), done.stderr
