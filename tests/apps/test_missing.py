"""Servers that can't be reached: runs do without them, loudly, unless one is required or nothing is left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from corral.agents.testing import Call, Reply, ScriptedServer

from .conftest import Corral

TIME = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
DEAD = {"url": "http://127.0.0.1:9/mcp"}
ASK = Call("time_get_current_time", {"timezone": "UTC"})


def write(folder: Path, **servers: object) -> None:
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))


def run(corral: Corral, url: str, *more: str) -> tuple[int, str, str]:
    given = ("--model", "openai/m", "--api-base", url, "--mcp-config", "mcp.json", "--yes-to", "tool:time/*")
    done = corral("run", "?", *given, *more)
    return done.returncode, done.stdout, done.stderr


def test_a_run_does_without_a_dead_server_and_says_so(corral: Corral, tmp_path: Path) -> None:
    write(tmp_path, time=TIME, dead=DEAD)
    with ScriptedServer([Reply(calls=[ASK]), "noon"]) as model:
        status, said, warned = run(corral, model.url, "--output-format", "stream-json")
    events = [json.loads(line) for line in said.splitlines()]
    assert status == 0
    assert warned.count("corral: going on without dead: the server can't be reached") == 1
    (failed,) = (event for event in events if event["type"] == "SourceFailed")
    assert failed["source"] == "dead"
    assert failed["seq"] < next(event["seq"] for event in events if event["type"] == "StepStarted")
    (returned,) = (event for event in events if event["type"] == "ToolReturned")
    assert returned["outcome"] == "ok"
    offered = [tool["function"]["name"] for tool in model.bodies[0]["tools"]]
    assert [name for name in offered if "dead" in name] == []
    shown = corral("runs", "show", failed["run_id"]).stdout
    assert "! without dead: " in shown


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ({"time": TIME, "dead": DEAD | {"required": True}}, "corral: dead: the server can't be reached"),
        ({"dead": DEAD, "gone": {"command": "no-such"}}, "(gone failed, too, and no tool is left)"),
    ],
    ids=["required", "nothing left"],
)
def test_a_run_stops_where_a_server_is_required_or_nothing_is_left(
    corral: Corral, tmp_path: Path, servers: dict[str, object], problem: str
) -> None:
    write(tmp_path, **servers)
    with ScriptedServer(["noon"]) as model:
        status, said, warned = run(corral, model.url)
        assert (status, said, model.bodies) == (2, "", [])
    assert problem in warned
    assert "Traceback" not in warned


def test_a_batch_does_without_a_dead_server_and_says_so_once(corral: Corral, tmp_path: Path) -> None:
    write(tmp_path, time=TIME, dead=DEAD)
    (tmp_path / "tasks.jsonl").write_text('{"id": "a", "task": "?"}\n{"id": "b", "task": "?"}\n')
    with ScriptedServer(["noon"] * 2) as model:
        given = ("--model", "openai/m", "--api-base", model.url, "--mcp-config", "mcp.json")
        done = corral("batch", "tasks.jsonl", *given)
    assert done.returncode == 0
    assert done.stderr.count("going on without dead") == 1


def test_an_agents_own_servers_are_as_required_as_its_file_of_servers_says(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "barn.py").write_text("def count() -> int:\n    '''Count the hens.'''\n    return 3\n")
    (tmp_path / "agent.yaml").write_text("tools: {functions: ['barn:count'], mcp: [mcp.json]}\n")
    for required, status in ((False, 0), (True, 2)):
        write(tmp_path, dead=DEAD | {"required": required})
        with ScriptedServer(["three"]) as model:
            given = ("--agent", "agent.yaml", "--model", "openai/m", "--api-base", model.url)
            done = corral("run", "?", *given)
        assert done.returncode == status, done.stderr
        assert ("going on without dead" in done.stderr) is not required
