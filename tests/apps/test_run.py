import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corral.agents.testing import Call, Reply, ScriptedServer

from .conftest import Corral


def test_without_a_model_three_lines_say_how_to_name_one(corral: Corral, tmp_path: Path) -> None:
    done = corral("run", "hi")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 4
    assert "--model" in done.stderr
    assert "CORRAL_MODEL" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_answer_goes_to_stdout_and_nothing_else_does(corral: Corral) -> None:
    with ScriptedServer(["Paris."]) as server:
        done = corral("run", "Capital of France?", "--model", "openai/m", "--api-base", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Paris.\n", "")


def test_the_task_may_come_from_stdin_and_the_model_from_the_environment(corral: Corral) -> None:
    with ScriptedServer(["ok"]) as server:
        done = corral("run", stdin="from a pipe\n", CORRAL_MODEL="openai/m", CORRAL_API_BASE=server.url)
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert server.bodies[0]["messages"][-1]["content"] == "from a pipe"


def test_json_output_is_one_object(corral: Corral) -> None:
    with ScriptedServer([Reply(calls=[Call("submit", {"total": 7})])]) as server:
        done = corral(
            "run", "?", "--signature", "task -> total: int", "--model", "openai/m", "--api-base", server.url,
            "--output-format", "json",
        )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["outputs"] == {"total": 7}
    assert summary["reason"] == "done"
    assert summary["usage"]["input_tokens"] == 10


def test_json_output_tells_what_was_refused(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    where = ("--policy", "policy.yaml", "--output-format", "json")
    with ScriptedServer(["hi"]) as server:
        done = corral("run", "?", "--model", "openai/m", "--api-base", server.url, *where)
    (denied,) = json.loads(done.stdout)["denied"]
    assert denied["resource"] == "model:openai/m"
    assert "no rule" in denied["reason"]


def test_a_limit_ends_with_status_4(corral: Corral) -> None:
    with ScriptedServer([Reply(calls=[Call("nothing")])]) as server:
        done = corral("run", "?", "--model", "openai/m", "--api-base", server.url, "--max-steps", "2")
    assert done.returncode == 4
    assert done.stderr == "corral: the run ended at its limit on steps\n"


def test_a_refused_model_ends_with_status_3(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    with ScriptedServer(["hi"]) as server:
        done = corral("run", "?", "--model", "openai/m", "--api-base", server.url, "--policy", "policy.yaml")
    assert done.returncode == 3
    assert "model:openai/m" in done.stderr
    assert server.bodies == []


def test_a_dead_server_of_the_model_ends_with_status_1(corral: Corral) -> None:
    done = corral("run", "?", "--model", "openai/m", "--api-base", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert done.stderr.startswith("corral: the model openai/m gave no answer: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "files", "said"),
    [
        (("--model", "nobody/m"), {}, "no provider is known for the model 'nobody/m'"),
        (("--model", "openai/m", "--api-base", "nowhere"), {}, "api_base"),
        (("--model", "openai/gpt-4o-mini"), {}, "OPENAI_API_KEY"),
        (("--policy", "gone.yaml"), {}, "gone.yaml: the file can't be read: No such file or directory"),
        (("--policy", "p.yaml"), {"p.yaml": "rules:\n  - resorce: x\n"}, "p.yaml:2: "),
        (("--policy", "p.toml"), {"p.toml": "default = 'allow'\n"}, "p.toml:1: "),
        (("--policy", "p.yaml"), {"p.yaml": "rules: [\n"}, "this is not YAML"),
        (("--mcp-config", "gone.json"), {}, "gone.json"),
        (("--mcp-config", "m.json"), {"m.json": "{"}, "m.json"),
        (("--mcp-config", "m.json"), {"m.json": '{"mcpServers": {"x": {"comand": "y"}}}'}, "command: it is required"),
        (("--mcp-config", "m.json"), {"m.json": '{"mcpServers": {"x": {"command": "no-such"}}}'}, "no-such"),
        (("--signature", "nonsense"), {}, "the signature 'nonsense'"),
        (("--signature", "a, b -> c"), {}, "one input"),
        (("--yes-to", "files"), {}, "--yes-to"),
        (("--json-schema", "s.json", "--signature", "task -> x"), {"s.json": "{}"}, "give one of them"),
        (("--max-cost", "1"), {}, "the price of openai/m is not known"),
        (("--max-steps", "-1"), {}, "--max-steps"),
        (("--frobnicate",), {}, "--frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_bad_input_is_one_sentence_and_status_2(
    corral: Corral, tmp_path: Path, arguments: tuple[str, ...], files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with ScriptedServer(["hi"]) as server:
        # What a case names itself comes last, and counts.
        given = ["--model", "openai/m", "--api-base", server.url, *arguments]
        if arguments == ("--model", "openai/gpt-4o-mini"):
            given = list(arguments)
        done = corral("run", "?", *given)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert server.bodies == []


def test_an_empty_task_is_bad_input(corral: Corral) -> None:
    done = corral("run", "--model", "openai/m", stdin="")
    assert done.returncode == 2
    assert "no task" in done.stderr


def test_help_and_version(corral: Corral) -> None:
    assert "Exit status: 0 done" in corral("--help").stdout
    assert corral("--version").stdout.startswith("corral 0.")
    assert corral("no-such-command").returncode == 2


def test_doctor_says_what_works_and_what_to_do(corral: Corral) -> None:
    done = corral("doctor")
    assert done.returncode == 0, done.stdout
    assert "ok   monty: runs code" in done.stdout
    assert "set CORRAL_MODEL" in done.stdout


def test_doctor_fails_where_nothing_can_be_kept(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = corral("doctor", CORRAL_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert "FAIL home:" in done.stdout
    assert "set CORRAL_HOME" in done.stdout


def test_the_answer_may_have_to_fit_a_schema(corral: Corral, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"total": {"type": "integer", "minimum": 10}}, "required": ["total"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    script = [Reply(calls=[Call("submit", {"answer": {"total": n}})]) for n in (3, 30)]
    with ScriptedServer(script) as server:
        done = corral(
            "run", "?", "--json-schema", "schema.json", "-o", "out.json", "--model", "openai/m",
            "--api-base", server.url,
        )  # fmt: skip
    assert json.loads(done.stdout) == {"total": 30}
    assert json.loads((tmp_path / "out.json").read_text()) == {"total": 30}
    assert "minimum" in server.bodies[1]["messages"][-1]["content"]


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_its_status_and_is_recorded(
    corral: Corral, tmp_path: Path, stop: signal.Signals, status: int
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
    with ScriptedServer([Reply("late", delay=30)]) as server:
        command = [sys.executable, "-m", "corral.apps", "run", "?", "--model", "openai/m", "--api-base", server.url]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
            deadline = time.monotonic() + 20
            while not server.bodies:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            stopped = time.monotonic()
            running.send_signal(stop)
            assert running.wait(10) == status
            assert time.monotonic() - stopped < 3
            assert running.stderr is not None
            assert "Traceback" not in running.stderr.read()
    assert "cancelled" in corral("runs", "list").stdout


def test_a_reader_that_leaves_is_no_error(corral: Corral, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = f"{sys.executable} -m corral.apps --help | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert "Traceback" not in done.stderr


def test_bytes_that_are_no_text_are_replaced(corral: Corral) -> None:
    with ScriptedServer(["ok"]) as server:
        done = corral("run", "caf\udce9", "--model", "openai/m", "--api-base", server.url)
    assert done.returncode == 0, done.stderr
    assert server.bodies[0]["messages"][-1]["content"] == "caf\ufffd"


def test_an_agent_may_come_from_a_file(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "barn.py").write_text(
        "from corral.tools import tool\n\n\n@tool(effect='read')\ndef hay() -> int:\n    '''Bales.'''\n    return 7\n"
    )
    (tmp_path / "farm" / "agent.md").write_text(
        "---\nname: shepherd\nsignature: 'task -> bales: int'\ntools: {functions: ['barn:hay']}\nlimits: {steps: 4}\n"
        "---\nYou count hay.\n"
    )
    script = [Reply(calls=[Call("hay")]), Reply(calls=[Call("submit", {"bales": 7})])]
    with ScriptedServer(script) as server:
        where = ("--model", "openai/m", "--api-base", server.url)
        done = corral("run", "How many bales?", "--agent", "farm/agent.md", *where)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert server.bodies[0]["messages"][0]["content"].startswith("You count hay.")
    (tmp_path / "farm" / "bad.yaml").write_text("name: x\ntols: []\n")
    wrong = corral("run", "?", "--agent", "farm/bad.yaml", *where)
    assert wrong.returncode == 2
    assert "bad.yaml:2" in wrong.stderr


def test_a_denial_is_told_where_nobody_watches(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "barn.py").write_text("def sell() -> str:\n    '''Sell.'''\n    return 'sold'\n")
    (tmp_path / "agent.yaml").write_text("tools: {functions: ['barn:sell']}\n")
    with ScriptedServer([Reply(calls=[Call("sell")]), "not sold"]) as server:
        done = corral("run", "?", "--agent", "agent.yaml", "--model", "openai/m", "--api-base", server.url)
    assert done.stdout == "not sold\n"
    assert done.stderr.startswith("corral: denied: call tool:local/sell")
    assert "--yes-to" in done.stderr


def test_doctor_says_which_key_is_missing(corral: Corral) -> None:
    assert (
        "openai/gpt-4o-mini has no key; set OPENAI_API_KEY"
        in corral("doctor", CORRAL_MODEL="openai/gpt-4o-mini").stdout
    )
    keyed = corral("doctor", CORRAL_MODEL="openai/gpt-4o-mini", OPENAI_API_KEY="sk-x").stdout
    assert "ok   model: openai/gpt-4o-mini\n" in keyed
    assert "sk-x" not in keyed
    assert "no provider is known" in corral("doctor", CORRAL_MODEL="nobody/m").stdout
