import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from corral.agents.testing import Call, Reply, ScriptedServer

from .conftest import Corral


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps({"id": f"t{n}", "task": f"say {n}"}) + "\n" for n in range(500)))
    return path


def echo(body: dict[str, Any], number: int) -> Reply:
    return Reply("I say " + str(body["messages"][-1]["content"]).rsplit(" ", 1)[-1], delay=0.02)


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.with_name("tasks.jsonl.results.jsonl").read_text().splitlines()]


def test_every_task_gets_its_own_result(corral: Corral, tasks: Path) -> None:
    with ScriptedServer(echo) as server:
        done = corral("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", server.url, "--concurrency", "32")
    assert done.returncode == 0, done.stderr
    assert "500 tasks: 500 done" in done.stderr
    assert {r["id"]: r["outputs"]["answer"] for r in results(tasks)} == {f"t{n}": f"I say {n}" for n in range(500)}


def test_a_batch_killed_in_the_middle_goes_on_where_it_was(corral: Corral, tasks: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
    with ScriptedServer(echo) as server:
        command = ("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", server.url)
        with subprocess.Popen(
            [sys.executable, "-m", "corral.apps", *command], cwd=tmp_path, env=environment
        ) as running:
            deadline = time.monotonic() + 30
            while len(server.bodies) < 60:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
        before = len(results(tasks))
        assert 0 < before < 500
        done = corral(*command)
        assert done.returncode == 0, done.stderr
    assert f"{before} had a result already" in done.stderr
    found = [result["id"] for result in results(tasks)]
    assert sorted(found) == sorted(f"t{n}" for n in range(500))


def test_a_task_that_was_cut_off_goes_on_without_repeating_what_it_did(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "market.py").write_text(
        "from pathlib import Path\n\n\ndef sell(animal: str) -> str:\n    '''Sell.'''\n"
        "    with Path('sold.txt').open('a') as file:\n        file.write(animal + '\\n')\n    return 'sold'\n"
    )
    (tmp_path / "agent.yaml").write_text("tools: {functions: ['market:sell']}\n")
    (tmp_path / "tasks.jsonl").write_text('{"id": "a", "task": "sell goat"}\n{"id": "b", "task": "sell sheep"}\n')
    slow = [30.0]

    def market(body: dict[str, Any], number: int) -> Reply:
        said = [message["content"] for message in body["messages"]]
        if said[-1] == "sold":
            return Reply("gone", delay=slow[0] if any("sheep" in str(text) for text in said) else 0)
        return Reply(calls=[Call("sell", {"animal": said[-1].split()[-1]})])

    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
    with ScriptedServer(market) as server:
        where = ("--model", "openai/m", "--api-base", server.url, "--yes-to", "tool:local/*", "--concurrency", "1")
        command = ("batch", "tasks.jsonl", "--agent", "agent.yaml", *where)
        with subprocess.Popen(
            [sys.executable, "-m", "corral.apps", *command], cwd=tmp_path, env=environment
        ) as running:
            deadline = time.monotonic() + 30
            while len(server.bodies) < 4:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
        slow[0] = 0.0
        done = corral(*command)
    assert done.returncode == 0, done.stderr
    assert {result["id"]: result["outputs"] for result in results(tmp_path / "tasks.jsonl")} == {
        "a": {"answer": "gone"},
        "b": {"answer": "gone"},
    }
    assert (tmp_path / "sold.txt").read_text() == "goat\nsheep\n"
    assert not list(tmp_path.glob("*.started"))


def test_lines_say_what_is_expected_and_a_script_is_given_their_inputs(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(
        '{"id": "a", "animal": "horse", "expect": {"answer": {"contains": "hay"}}}\n'
        '{"id": "b", "animal": "wolf", "expect": {"answer": {"contains": "hay"}}}\n{"id": "c", "beast": "goat"}\n'
    )
    (tmp_path / "feed.yaml").write_text('inputs: {animal: ""}\ntask: "Feed the ${animal}."\n')
    with ScriptedServer(lambda body, number: Reply("hay" if "horse" in str(body["messages"]) else "meat")) as server:
        done = corral("batch", "tasks.jsonl", "-f", "feed.yaml", "--model", "openai/m", "--api-base", server.url)
    assert done.returncode == 1
    found = {result["id"]: (result["ok"], result["reason"]) for result in results(tmp_path / "tasks.jsonl")}
    assert found == {"a": (True, "done"), "b": (False, "unmet"), "c": (False, "error")}
    assert 'b: unmet not as expected: answer: "hay" is not in "meat"' in done.stderr
    assert "c: error the task has no input 'beast'; it has animal" in done.stderr


def test_a_task_that_was_changed_is_run_again(corral: Corral, tmp_path: Path) -> None:
    with ScriptedServer(echo) as server:
        command = ("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", server.url)
        for text in ("say one", "say two", "say two"):
            (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "a", "task": text}) + "\n")
            done = corral(*command)
    assert "1 had a result already" in done.stderr
    assert [result["outputs"]["answer"] for result in results(tmp_path / "tasks.jsonl")] == ["I say one", "I say two"]


def test_two_batches_never_write_the_same_results(corral: Corral, tasks: Path, tmp_path: Path) -> None:
    with (tmp_path / "tasks.jsonl.results.jsonl").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = corral("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "another batch is writing these results" in done.stderr


def test_failed_tasks_are_told_and_tried_anew_the_next_time(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"id": "a", "task": "good"}\n{"id": "b", "task": "bad"}\n')

    def sometimes(body: dict[str, Any], number: int) -> Reply:
        bad = "bad" in str(body["messages"])
        return Reply(error=RuntimeError("out of order")) if bad and number < 5 else Reply("fine")

    with ScriptedServer(sometimes) as server:
        command = ("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", server.url, "--retries", "0")
        first = corral(*command, "--concurrency", "1")
        assert first.returncode == 1
        assert "b: model_error" in first.stderr
        while len(server.bodies) < 5:
            corral(*command)
        assert corral(*command).returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json\n", "tasks.jsonl:1: this is not a JSON object"),
        ('{"id": 1}\n{"id": 1}\n', "tasks.jsonl:2: the id '1'"),
        ('{"task": "x", "expect": {"answer": {"contain": 1}}}\n', "tasks.jsonl:1: expect.answer.contain: "),
    ],
)
def test_bad_tasks_are_told_with_their_line(corral: Corral, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tasks.jsonl").write_text(text)
    done = corral("batch", "tasks.jsonl", "--model", "openai/m", "--api-base", "http://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "tasks.jsonl.results.jsonl").exists()
