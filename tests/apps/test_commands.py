import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corral.agents.testing import ScriptedServer

from .conftest import Corral


@pytest.fixture
def config(tmp_path: Path) -> str:
    server = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"time": server}}))
    return "mcp.json"


def test_tools_are_listed_shown_and_called_by_hand(corral: Corral, config: str) -> None:
    listed = corral("tools", "list", "--mcp-config", config, "--json")
    assert [json.loads(line)["resource"] for line in listed.stdout.splitlines()] == [
        "tool:time/get_current_time",
        "tool:time/convert_time",
    ]
    shown = corral("tools", "show", "time_convert_time", "--mcp-config", config)
    assert shown.stdout.startswith("def time_convert_time(")
    call = ("tools", "call", "time_get_current_time", '{"timezone": "UTC"}', "--mcp-config", config)
    refused = corral(*call)
    assert refused.returncode == 1
    assert "--yes-to" in refused.stderr
    called = corral(*call, "--yes-to", "tool:time/*")
    assert called.returncode == 0
    assert json.loads(called.stdout)["timezone"] == "UTC"


def test_an_unknown_tool_is_answered_with_near_names(corral: Corral, config: str) -> None:
    done = corral("tools", "show", "convert_time", "--mcp-config", config)
    assert done.returncode == 2
    assert "did you mean time_convert_time" in done.stderr


def test_memory_is_added_found_exported_forgotten_and_imported(corral: Corral) -> None:
    corral("memory", "add", "Bruno is a horse")
    assert "Bruno is a horse" in corral("memory", "search", "which horse?").stdout
    exported = corral("memory", "export").stdout
    assert json.loads(exported)["text"] == "Bruno is a horse"
    assert corral("memory", "forget", "bruno").stdout.startswith("erased 1 fact")
    assert corral("memory", "list").stdout == ""
    assert corral("memory", "import", stdin=exported + "not json\n").stdout == "added 1, skipped 1\n"
    assert "Bruno is a horse" in corral("memory", "list").stdout
    assert corral("memory", "--agent", "other", "list").stdout == ""


def test_a_run_with_memory_is_found_by_the_next(corral: Corral) -> None:
    with ScriptedServer(["ok"]) as server:
        where = ("--model", "openai/m", "--api-base", server.url, "--memory")
        corral("run", "The vet comes on Thursdays.", *where)
        corral("run", "When does the vet come?", *where)
    assert "Thursdays" in server.bodies[1]["messages"][-1]["content"]


def test_runs_are_listed_shown_and_exported(corral: Corral) -> None:
    assert corral("runs", "list").returncode == 2
    with ScriptedServer(["Paris."]) as server:
        corral("run", "Capital of France?", "--model", "openai/m", "--api-base", server.url)
    (line,) = corral("runs", "list").stdout.splitlines()
    run = line.split()[0]
    assert "done" in line
    assert "Paris." in corral("runs", "show", run).stdout
    events = [json.loads(event) for event in corral("runs", "export", run).stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert corral("runs", "show", "zzz").returncode == 2


def test_settings_say_where_they_come_from_and_hide_secrets(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CORRAL_MODEL=openai/from-file\nOTHER=1\n")
    shown = corral("config", "show", CORRAL_API_KEY="sk-secret").stdout
    assert "model = openai/from-file  (.env)" in shown
    assert "api_base = None  (default)" in shown
    assert "(environment, CORRAL_API_KEY)" in shown
    assert "sk-secret" not in shown


def test_a_new_project_works_as_it_is_printed(corral: Corral, tmp_path: Path) -> None:
    made = corral("init", "farm")
    assert made.returncode == 0
    assert "pytest" in made.stdout
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path / "farm", capture_output=True, text=True, timeout=60,
        env=environment, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout
    again = corral("init", "farm")
    assert again.returncode == 2
    assert "nothing was written" in again.stderr
