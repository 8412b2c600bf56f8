"""`corral runs`: what the journal kept, looked at, gone on with, and thrown away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from corral.agents import Hook, Journal, ReAct, Veto
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.tools import Artifacts

from .conftest import Corral


@pytest.fixture
def journal(corral: Corral) -> str:
    """One finished run in the journal; its id."""
    with ScriptedServer(["Paris."]) as server:
        done = corral(
            "run", "Capital of France?", "--model", "openai/m", "--api-base", server.url, "--output-format", "json"
        )
    return json.loads(done.stdout)["run_id"]


def test_without_a_journal_it_is_bad_input(corral: Corral) -> None:
    assert corral("runs", "list").returncode == 2


@pytest.mark.parametrize("command", [("resume", "zzz"), ("fork", "zzz", "1")])
def test_an_unknown_run_is_bad_input(corral: Corral, tmp_path: Path, command: tuple[str, ...]) -> None:
    Journal(tmp_path / "data" / "runs.sqlite3").close()
    done = corral("runs", *command)
    assert done.returncode == 2
    assert "no run starts with 'zzz'" in done.stderr


def test_runs_are_listed_and_shown_to_people_and_programs(corral: Corral, journal: str) -> None:
    (line,) = corral("runs", "list").stdout.splitlines()
    assert line.split()[0] == journal[:12]
    assert "done" in line
    assert "Capital of France?" in line
    listed = json.loads(corral("runs", "list", "--json").stdout)
    assert (listed["run_id"], listed["reason"], listed["task"]) == (journal, "done", "Capital of France?")
    assert "Paris." in corral("runs", "show", journal[:8]).stdout
    events = [json.loads(event) for event in corral("runs", "show", journal, "--json").stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_runs_are_exported_one_by_one_or_all(corral: Corral, journal: str, tmp_path: Path) -> None:
    events = [json.loads(event) for event in corral("runs", "export", journal).stdout.splitlines()]
    assert (events[0]["type"], events[-1]["type"]) == ("RunStarted", "RunFinished")
    done = corral("runs", "export", "--all", "-o", "runs.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    written = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert (written[0]["type"], written[0]["run_id"], written[1:]) == ("Run", journal, events)
    assert corral("runs", "export").returncode == 2


def test_a_run_that_was_killed_goes_on_where_it_stopped(corral: Corral, tmp_path: Path) -> None:
    reached = threading.Event()
    (tmp_path / "acts.py").write_text(
        "from pathlib import Path\n"
        "from corral.tools import tool\n\n"
        '@tool(effect="once")\n'
        "def act(what: str) -> str:\n"
        '    """Act."""\n'
        '    Path("acted.txt").open("a").write(what + "\\n")\n'
        '    return "acted"\n'
    )
    (tmp_path / "agent.yaml").write_text('tools: {functions: ["acts:act"]}\n')
    (tmp_path / "policy.yaml").write_text('rules: [{resource: "*", actions: ["*"]}]\n')

    def script(body: dict[str, Any], number: int) -> Reply:
        if number == 0:
            return Reply(calls=[Call("act", {"what": "hay"})])
        if number == 1:
            reached.set()
            return Reply(fault=Fault(hang=30))
        return Reply("Done with it.")

    with ScriptedServer(script) as server:
        flags = ("--model", "openai/m", "--api-base", server.url, "--agent", "agent.yaml", "--policy", "policy.yaml")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
        running = subprocess.Popen(
            [sys.executable, "-m", "corral.apps", "run", "Act once.", *flags], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with running:
            assert reached.wait(30)
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=10)
        (row,) = [json.loads(line) for line in corral("runs", "list", "--json").stdout.splitlines()]
        assert row["reason"] is None
        done = corral("runs", "resume", row["run_id"][:10], *flags, "--output-format", "json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["run_id"], summary["outputs"]) == (row["run_id"], {"answer": "Done with it."})
    assert summary["steps"] == 2
    assert len(server.bodies) == 3
    assert (tmp_path / "acted.txt").read_text() == "hay\n"


def test_a_run_that_a_limit_stopped_goes_on_with_a_higher_one(corral: Corral) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply("nearly" if "tool_choice" in body else "", calls=[] if number > 1 else [Call("nothing")])

    with ScriptedServer(script) as server:
        flags = ("--model", "openai/m", "--api-base", server.url)
        assert corral("run", "?", *flags, "--max-steps", "2").returncode == 4
        (row,) = [json.loads(line) for line in corral("runs", "list", "--json").stdout.splitlines()]
        again = corral("runs", "resume", row["run_id"], *flags, "--max-steps", "2")
    assert row["reason"] == "steps"
    assert again.returncode == 4
    assert len(server.bodies) == 2


def test_a_fork_has_a_life_of_its_own_and_a_rewind_forgets(corral: Corral) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply(calls=[Call("nothing")]) if number == 0 else Reply(f"answer {number}")

    with ScriptedServer(script) as server:
        flags = ("--model", "openai/m", "--api-base", server.url)
        corral("run", "?", *flags)
        first = json.loads(corral("runs", "list", "--json").stdout)["run_id"]
        forked = json.loads(corral("runs", "fork", first[:8], "1", "--json").stdout)
        assert (forked["of"], forked["step"]) == (first, 1)
        assert corral("runs", "resume", forked["run_id"], *flags).stdout == "answer 2\n"
        rewound = corral("runs", "rewind", first, "1")
        assert (rewound.returncode, rewound.stdout) == (0, "")
        assert corral("runs", "resume", first, *flags).stdout == "answer 3\n"
        assert len(server.bodies) == 4
        beyond = corral("runs", "fork", first, "9")
    assert beyond.returncode == 2
    assert "has 2 steps, and no step 9" in beyond.stderr


def test_old_runs_are_pruned(corral: Corral, journal: str) -> None:
    assert corral("runs", "prune").returncode == 2
    assert json.loads(corral("runs", "prune", "--older-than", "1", "--json").stdout) == {"deleted": 0}
    assert corral("runs", "prune", "--older-than", "0").stdout == "deleted 1 runs\n"
    assert corral("runs", "list").stdout == ""


def test_what_was_delegated_says_by_which_run_and_a_veto_is_shown(corral: Corral, tmp_path: Path) -> None:
    class No(Hook):
        def before_tool(self, run: Any, arguments: Any, call: Any) -> Any:
            return Veto("not today") if call.tool == "read_result" else None

    lm = scripted_lm(
        [Reply(calls=[Call("helper", {"task": "help"}), Call("read_result", {"artifact": "x"})]), "Done."]
    )[0]
    helper = ReAct("task -> answer", lm=scripted_lm(["Yes."])[0], name="helper")
    options: dict[str, Any] = {"artifacts": Artifacts(tmp_path / "results"), "plugins": [No()]}
    with Journal(tmp_path / "data" / "runs.sqlite3") as journal:
        result = ReAct("task -> answer", [helper], lm=lm, journal=journal, **options).run_sync("go")
    assert result.ok
    assert f"[helper, of {result.run_id[:12]}]" in corral("runs", "list").stdout
    assert "! plugin:No, before_tool: veto not today" in corral("runs", "show", result.run_id).stdout
