"""What can be given wrongly, and what can go wrong for ever: each run ends by itself, with a reason and a result."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import dspy
import pytest

from corral.agents import Agent, CodeAct, DefinitionError, Journal, JournalError, ModelSpec, ReAct, StopReason
from corral.agents.guards import Length
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.policy import Limits, Policy, RunFinished, SecurityPolicy
from corral.sandbox import DockerProvider, MontyProvider, SandboxProvider
from corral.tools import tool

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class NoOutputs(dspy.Signature):
    """Nothing comes of it."""

    question: str = dspy.InputField()


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("question", "can't be read"),
        ("", "can't be read"),
        ("-> answer", "needs an input and an output"),
        ("question ->", "needs an input and an output"),
        ("question -> answer: nonsense", "can't be read"),
        ("question -> question", "question"),
        ("question -> class", "class"),
        (NoOutputs, "needs an input and an output"),
        (3, "can't be read"),
    ],
)
def test_a_wrong_signature_is_said_when_the_agent_is_made(signature: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        ReAct(signature, lm=scripted_lm(["x"])[0])


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(steps=0), StopReason.STEPS),
        (Limits(tokens=0), StopReason.TOKENS),
        (Limits(seconds=0), StopReason.SECONDS),
        (Limits(steps=0, tokens=10**9, seconds=3600), StopReason.STEPS),
    ],
    ids=["no steps", "no tokens", "no time", "no steps and all else"],
)
async def test_limits_that_let_nothing_happen_end_the_run_at_once(limits: Limits, reason: StopReason) -> None:
    lm, engine = scripted_lm(["x"])
    with anyio.fail_after(5):
        result = await ReAct("question -> answer", [add], lm=lm, limits=limits).run("?")
    assert result.reason is reason
    assert result.outputs is None
    assert result.detail
    assert engine.requests == []


async def test_of_two_limits_the_stricter_holds_wherever_it_stands() -> None:
    lm, engine = scripted_lm([Reply(calls=[Call("add", {"a": 1, "b": 2})])])
    policy = Policy(rules=EVERYTHING.rules, limits=Limits(steps=3))
    for limits, steps in ((Limits(steps=50), 3), (Limits(steps=2), 2)):
        before = len(engine.requests)
        result = await ReAct("question -> answer", [add], lm=lm, policy=policy, limits=limits).run("?")
        assert (result.reason, len(engine.requests) - before) == (StopReason.STEPS, steps)


@pytest.mark.parametrize(
    ("given", "takes"),
    [
        ({"tools": ["x"]}, "a list of functions, tools, agents"),
        ({"tools": [add, 3]}, "a list of functions, tools, agents"),
        ({"output_guards": ["x"]}, "a list of guards"),
        ({"input_guards": [Length]}, "a list of guards"),
        ({"input_guards": Length(5)}, "a list of guards"),
        ({"plugins": [3]}, "a list of Hooks"),
        ({"plugins": "tidy"}, "a list of Hooks"),
        ({"sinks": [print]}, "a list of objects with `def emit"),
        ({"skills": "skills"}, "a list of folders and MCP servers"),
        ({"skills": [3]}, "a list of folders and MCP servers"),
        ({"untrusted_inputs": "question"}, "a list of names"),
    ],
)
def test_what_can_t_be_a_collaborator_is_said_when_the_agent_is_made(given: Any, takes: str) -> None:
    (name,) = given
    with pytest.raises(DefinitionError, match=f"^{name}=.*: it takes {takes}"):
        ReAct("question -> answer", **given)


async def test_without_a_model_it_is_said_where_one_may_be_named() -> None:
    with pytest.raises(DefinitionError, match=r"lm=.*or name one in the agent file or with --model"):
        await ReAct("question -> answer").run("?")


async def test_a_model_that_is_down_ends_the_run_with_what_is_known() -> None:
    spec = ModelSpec(model="openai/m", api_base="http://127.0.0.1:9/v1")
    with anyio.fail_after(20):
        result = await ReAct("question -> answer", lm=spec).run("?")
    assert result.reason is StopReason.MODEL_ERROR
    assert "openai/m" in result.detail


@pytest.mark.parametrize("kind", ["react", "code", "text"])
@pytest.mark.parametrize("says", ["", "{", "[[ ## tool_calls ## ]] nonsense", "```python\n(\n```", "\x00\ud83d"])
async def test_a_model_that_says_garbage_for_ever_ends_by_itself(kind: str, says: str) -> None:
    lm, engine = scripted_lm([says], native=kind != "text")
    limits = Limits(steps=30, seconds=20)
    with anyio.fail_after(30):
        if kind == "code":
            agent: Agent = CodeAct("question -> total: int", lm=lm, limits=limits, sandbox=MontyProvider())
        else:
            agent = ReAct("question -> total: int", [add], lm=lm, limits=limits)
        result = await agent.run("?")
    runs = kind == "code" and says.startswith("```")  # code that fails is work; said once more, it is not run
    assert (result.reason, len(engine.requests)) == (StopReason.INVALID, 5 + runs)
    assert result.outputs is None
    assert result.repairs >= 4
    assert "5 answers in a row can't be used; the last: " in result.detail


def goes_round(kind: str, script: Any) -> Agent:
    """An agent whose model answers by numbers: n > 0 works with n, n < 0 submits something wrong."""

    def reply(request: Any, number: int) -> Reply:
        n = script(number)
        if kind == "react":
            return Reply(calls=[Call("add", {"a": n, "b": 0}) if n > 0 else Call("submit", {"total": f"about {n}"})])
        return Reply(calls=[Call("python", {"code": f"{n} + 0" if n > 0 else f"SUBMIT(total='about {n}')"})])

    options: dict[str, Any] = {"lm": scripted_lm(reply)[0], "policy": EVERYTHING}
    if kind == "react":
        return ReAct("question -> total: int", [add], **options)
    return CodeAct("question -> total: int", [add], sandbox=MontyProvider(), **options)


@pytest.mark.parametrize("kind", ["react", "code"])
@pytest.mark.parametrize(
    ("script", "steps"),
    [
        pytest.param(lambda n: -1 - n, 5, id="wrong answers only"),
        pytest.param(lambda n: -n if n % 2 else 1, 10, id="always the same call between them"),
        pytest.param(lambda n: -n if n % 3 else 1 + n % 2, 11, id="two calls by turns"),
        pytest.param(lambda n: -1 if n % 2 else 1 + n, 10, id="one and the same answer"),
    ],
)
async def test_a_model_that_goes_round_in_circles_is_stopped(kind: str, script: Any, steps: int) -> None:
    result = await goes_round(kind, script).run("?")
    assert (result.reason, result.steps, result.ok) == (StopReason.INVALID, steps, False)
    assert not result.reason.is_limit
    assert "total" in result.detail


@pytest.mark.parametrize("kind", ["react", "code"])
async def test_answers_that_don_t_fit_end_no_run_that_does_something_new(kind: str) -> None:
    result = await goes_round(kind, lambda n: -1 - n if n % 2 else 1 + n).run("?")
    assert (result.reason, result.steps) == (StopReason.STEPS, 30)


async def test_a_call_that_comes_to_something_else_is_no_repetition() -> None:
    asked: list[int] = []

    @tool(effect="read")
    def progress() -> int:
        """How far it is, in percent."""
        asked.append(1)
        return len(asked)

    def script(request: Any, number: int) -> Reply:
        return Reply(calls=[Call("submit", {"total": f"not yet {number}"}) if number % 2 else Call("progress")])

    result = await ReAct("question -> total: int", [progress], lm=scripted_lm(script)[0]).run("?")
    assert (result.reason, result.steps) == (StopReason.STEPS, 30)


async def test_a_tool_that_hangs_ends_with_the_time_and_what_there_is(recorder: Recorder) -> None:
    @tool(effect="read")
    async def hang() -> str:
        """Never answer."""
        await anyio.sleep_forever()
        return ""

    def script(request: Any, number: int) -> Reply:
        return Reply(calls=[Call("add", {"a": 1, "b": 2}), Call("hang")]) if number == 0 else Reply("It was 3 so far.")

    lm, _ = scripted_lm(script)
    agent = ReAct("question -> answer", [add, hang], lm=lm, limits=Limits(seconds=1.0), sinks=[recorder])
    started = time.monotonic()
    with anyio.fail_after(10):
        result = await agent.run("?")
    assert time.monotonic() - started < 3
    assert result.reason is StopReason.SECONDS
    assert result.outputs == {"answer": "It was 3 so far."}
    assert recorder.of(RunFinished)[0].reason == "seconds"


@pytest.fixture(params=["monty", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> SandboxProvider:
    if request.param == "monty":
        return MontyProvider()
    request.getfixturevalue("docker_image")
    return DockerProvider()


async def test_a_cell_that_never_ends_is_stopped_and_the_model_goes_on(sandbox: SandboxProvider) -> None:
    def script(request: Any, number: int) -> Reply:
        code = "while True:\n    pass" if number == 0 else "print(1 + 1)"
        return Reply(calls=[Call("python", {"code": code})]) if number < 2 else Reply("2, in the end.")

    lm, engine = scripted_lm(script)
    agent = CodeAct("question -> answer", lm=lm, sandbox=sandbox, cell_timeout=0.5, limits=Limits(seconds=30))
    try:
        with anyio.fail_after(30):
            result = await agent.run("?")
    finally:
        await sandbox.close()
    assert result.ok
    assert result.outputs == {"answer": "2, in the end."}
    told = engine.requests[1].messages[-1].parts[0]
    assert told.is_error
    assert "0.5 s" in told.content[0].text


async def test_a_server_that_never_answers_ends_with_the_time() -> None:
    with ScriptedServer([Reply(fault=Fault(hang=30))]) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url)
        with anyio.fail_after(10):
            result = await ReAct("question -> answer", lm=spec, limits=Limits(seconds=0.5)).run("?")
    assert result.reason is StopReason.SECONDS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


async def test_a_disk_that_is_really_full_under_the_journal_ends_the_run(small_disk: Path) -> None:
    lm, engine = scripted_lm([Reply("word " * 20_000, calls=[Call("add", {"a": 1, "b": 2})])])
    journal = Journal(small_disk / "runs.sqlite3")
    agent = ReAct("question -> answer", [add], lm=lm, journal=journal, limits=Limits(steps=100))
    with anyio.fail_after(20):
        result = await agent.run("?")
    journal.close()
    assert result.reason is StopReason.ERROR
    assert "runs.sqlite3" in result.detail
    assert "full" in result.detail
    assert 1 <= len(engine.requests) < 50
    assert result.messages
    # What was written before is whole, and can be read where there is room.
    larger = small_disk.parent / "runs.sqlite3"
    for suffix in ("", "-wal"):
        if (written := small_disk / f"runs.sqlite3{suffix}").exists():
            larger.with_name(f"runs.sqlite3{suffix}").write_bytes(written.read_bytes())
    with Journal(larger) as read:
        events = list(read.events(result.run_id))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_disk_that_is_full_from_the_start_is_said_at_once(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * (1024 * 1024 - 8192))
    with pytest.raises(JournalError, match=r"runs\.sqlite3"):
        Journal(small_disk / "runs.sqlite3")


async def test_text_that_no_wire_takes_is_mended_wherever_it_comes_from() -> None:
    name = os.fsdecode(b"caf\xe9")  # what a folder with old names lists

    @tool(effect="read")
    def listing(of: str) -> str:
        """List."""
        return f"{of}: {name}"

    @tool(effect="read")
    def names() -> list[str]:
        """List all."""
        return [name]

    calls = [Call("names"), Call("listing", {"of": "\ud83d"})]
    with ScriptedServer([Reply(f"Look at {name}", calls=calls), Reply("Seen.")]) as server:
        result = await ReAct(
            "question -> answer", [listing, names], lm=ModelSpec(model="openai/m", api_base=server.url)
        ).run(f"What is in {name}? \ud83d\ude00 too")
    assert result.outputs == {"answer": "Seen."}, result.detail
    asked, said, listed, returned = server.bodies[-1]["messages"][-4:]
    assert asked["content"] == "What is in caf\ufffd? \U0001f600 too"
    assert said["content"] == "Look at caf\ufffd"
    assert json.loads(said["tool_calls"][1]["function"]["arguments"]) == {"of": "\ufffd"}
    assert listed["content"] == '["caf\\udce9"]'
    assert returned["content"] == "\ufffd: caf\ufffd"


@pytest.mark.parametrize("ends", ["the run's time", "its own time", "the caller"])
async def test_a_tool_that_ignores_its_cancellation_is_left_to_itself(ends: str) -> None:
    begun, over = anyio.Event(), anyio.Event()

    @tool(effect="read", timeout=0.3 if ends == "its own time" else 60)
    async def stubborn() -> str:
        """Tries again, whatever happens."""
        begun.set()
        while not over.is_set():
            with suppress(BaseException):
                await over.wait()
        return "late"

    lm, _ = scripted_lm([Reply(calls=[Call("stubborn")]), "Without it."])
    limits = Limits(seconds=1.0 if ends == "the run's time" else None)
    running = asyncio.create_task(ReAct("question -> answer", [stubborn], lm=lm, limits=limits).run("?"))
    with anyio.fail_after(8):
        await begun.wait()
        if ends == "the caller":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            result = await running
            reason = StopReason.SECONDS if ends == "the run's time" else StopReason.DONE
            assert result.reason is reason
            assert "limit" in str(result.messages) or "time is over" in str(result.messages)
        assert not over.is_set()
    over.set()
    await anyio.lowlevel.checkpoint()
