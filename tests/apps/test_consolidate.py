"""Consolidation from the command line: after an answer, by cron, and in a chat."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.agents.testing import Reply, ScriptedServer
from corral.memory import Memory, Scope, Turn
from corral.policy import Gate, Label, Policy, SecurityPolicy

from .conftest import Corral
from .test_chat import chat
from .tmux import Terminal

FACT = json.dumps([{"fact": "Ada lives in Porto", "cites": [1]}])
AGENT = "memory:\n  consolidate: {after: 3}\npolicy: {rules: [{resource: '*', actions: ['*']}]}\n"


async def say(home: Path) -> None:
    """Forty-one turns that nobody has consolidated."""
    gate, scope = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])), Scope()
    turns = [Turn("user", f"I moved to Porto, part {number}", Label.user()) for number in range(41)]
    async with Memory(home / "data" / "memory") as memory:
        await gate.perform(
            memory.action("write", scope), lambda admission: memory.remember(turns, scope, admission=admission)
        )


@pytest.fixture
def said(tmp_path: Path) -> None:
    asyncio.run(say(tmp_path))


def is_consolidating(body: dict[str, Any]) -> bool:
    return "Name the facts worth knowing" in str(body["messages"])


def answering(body: dict[str, Any], number: int) -> Reply:
    return Reply(FACT if is_consolidating(body) else "An answer.")


class Held:
    """A model that answers tasks, and holds a consolidation up until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def __call__(self, body: dict[str, Any], number: int) -> Reply:
        if is_consolidating(body):
            self.asked.set()
            self.let_go.wait(30)
        return answering(body, number)


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.let_go.set()


def at(server: ScriptedServer) -> tuple[str, ...]:
    return ("--model", "openai/m", "--api-base", server.url)


def facts(home: Path) -> list[str]:
    connection = sqlite3.connect(home / "data" / "memory" / "memory.db")
    found = [text for (text,) in connection.execute("select text from item where kind = 'fact'")]
    connection.close()
    return found


@pytest.mark.usefixtures("said")
def test_a_project_or_an_agents_file_asks_for_it_and_what_it_cost_is_told(corral: Corral, tmp_path: Path) -> None:
    with ScriptedServer(answering) as server:
        (tmp_path / "corral.toml").write_text("memory = true\nconsolidate = true\n")
        done = corral("run", "hello", *at(server))
        assert (done.returncode, done.stdout) == (0, "An answer.\n")
        assert "corral: memory: 1 fact drawn from 40 turns, 1 model call, " in done.stderr
        assert facts(tmp_path) == ["Ada lives in Porto"]
        (tmp_path / "corral.toml").write_text("memory = true\n")
        (tmp_path / "agent.yaml").write_text(AGENT)
        corral("run", "hello", *at(server), "--agent", "agent.yaml")
        assert [is_consolidating(body) for body in server.bodies] == [False, True] * 2
        corral("run", "hello", *at(server), "--agent", "agent.yaml", "--no-consolidate")
    assert len(server.bodies) == 5


def start(tmp_path: Path, server: ScriptedServer) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "corral.apps", "run", "hello", *at(server), "--memory", "--consolidate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")},
    )


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_after_its_answer_leaves_the_rest_to_the_next(
    corral: Corral, tmp_path: Path, held: Held, number: signal.Signals
) -> None:
    with ScriptedServer(held) as server:
        running = start(tmp_path, server)
        assert running.stdout is not None
        assert running.stdout.readline() == "An answer.\n"  # before the facts are there
        assert held.asked.wait(20)
        if number is signal.SIGINT:
            second = corral("memory", "consolidate", *at(server))
            assert (second.returncode, "is being consolidated already" in second.stderr) == (0, True)
        running.send_signal(number)
        _, errors = running.communicate(timeout=20)
        assert running.returncode == (0 if number is signal.SIGINT else -signal.SIGKILL)
        assert ("memory: stopped; a later run goes on from there" in errors) is (number is signal.SIGINT)
        assert facts(tmp_path) == []
        held.let_go.set()
        done = corral("memory", "consolidate", *at(server))
    assert done.stdout.startswith("1 facts drawn from 43 turns, 2 model calls, "), done.stdout + done.stderr
    assert facts(tmp_path) == ["Ada lives in Porto"]


@pytest.mark.usefixtures("said")
def test_the_command_tells_what_it_did_and_what_is_left(corral: Corral, tmp_path: Path) -> None:
    with ScriptedServer(answering) as server:
        first = corral("memory", "consolidate", *at(server), "--most", "1", "--price", "1", "2", "--json")
        told = json.loads(first.stdout)
        assert told == {"facts": 1, "turns": 40, "left": 1, "model_calls": 1, "tokens": told["tokens"],
                        "cost_usd": told["cost_usd"], "problem": None}  # fmt: skip
        assert told["tokens"] > 0
        assert told["cost_usd"] > 0
        assert corral("memory", "consolidate", *at(server)).stdout.startswith("0 facts drawn from 1 turns, 1 model")
    assert len(server.bodies) == 2
    assert (tmp_path / "data" / "audit.jsonl").read_text().count('"model:openai/m"') == 4  # intent and outcome of each


@pytest.mark.usefixtures("said")
def test_the_command_says_what_it_lacks(corral: Corral) -> None:
    with ScriptedServer(["I can't"]) as server:
        useless = corral("memory", "consolidate", *at(server))
        assert (useless.returncode, "there is no JSON array" in useless.stderr) == (1, True)
        priceless = corral("memory", "consolidate", *at(server), "--max-cost", "1")
        assert (priceless.returncode, "the price of openai/m is not known" in priceless.stderr) == (2, True)
        poor = corral("memory", "consolidate", *at(server), "--max-tokens", "500")
        assert (poor.returncode, "the limit of 500 tokens" in poor.stderr) == (4, True)
        assert len(server.bodies) == 1


@pytest.mark.usefixtures("said")
def test_a_chat_tells_what_it_consolidated_and_who_leaves_does_not_wait(
    terminal: Terminal, environment: dict[str, str], tmp_path: Path, held: Held
) -> None:
    with ScriptedServer(held) as server:
        terminal.start(chat(*at(server), "--consolidate"), environment)
        terminal.see("1 tool.")
        terminal.type("hello")
        terminal.see("An answer.")
        assert held.asked.wait(10)
        held.let_go.set()
        terminal.see("memory: 1 fact drawn from 40 turns, 1 model call")
        held.let_go.clear()
        held.asked.clear()
        asyncio.run(say(tmp_path))
        terminal.type("hello again")
        assert held.asked.wait(10)
        terminal.leave("C-d")
    assert facts(tmp_path) == ["Ada lives in Porto"]
