"""A server that fails at random, and runs that end all the same: with a reason, once each, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.agents import ModelSpec, ReAct, StopReason
from corral.agents.testing import Call, Fault, Reply, ScriptedServer
from corral.policy import Limits, Policy, RunFinished, SecurityPolicy
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])

RUNS = 1000
AT_ONCE = 60


class Chaos:
    """A model that wants two calls that count and one that reads, behind a server that fails three times in ten."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.faults: Counter[str] = Counter()

    def __call__(self, body: dict[str, Any], number: int) -> Reply:
        reply = self._wanted(body)
        if self._random.random() > 0.3:
            return reply
        name, fault = self._random.choice(
            [
                ("hang", Fault(hang=20.0)),
                ("429", Fault(429, {"error": {"message": "slow down"}}, retry_after=0.05)),
                ("429 for long", Fault(429, {"error": {"message": "tomorrow"}}, retry_after=0.3)),
                ("500", Fault(500, {"error": {"message": "out of order"}})),
                ("gateway", Fault(502, "<html>bad gateway</html>")),
                ("cut", Fault(cut=True)),
                ("no json", Fault(200, '{"choices": [')),
                ("other json", Fault(200, "[]")),
                ("nothing", Fault(200, '{"choices": []}')),
                ("400", Fault(400, {"error": {"message": "no"}})),
                ("overflow", Fault.overflow(4096, self._random.choice(["vllm", "vllm-flat", "llama.cpp", "openai"]))),
                ("no name", None),
                ("wrong name", None),
                ("no arguments", None),
                ("half arguments", None),
            ]
        )
        self.faults[name] += 1
        wrong = {
            "no name": Reply(fault=Fault(200, _answer(None, "{}"))),
            "wrong name": Reply(calls=[Call("act_now", {"key": "x"})]),
            "no arguments": Reply(calls=[Call("act", {"wrong": 1})]),
            "half arguments": Reply(fault=Fault(200, _answer("act", '{"key": '))),
        }
        return wrong[name] if fault is None else Reply(reply.text, reply.calls, fault=fault)

    def _wanted(self, body: dict[str, Any]) -> Reply:
        """Decides by what was acted on so far, as the conversation shows it."""
        run = next(m["content"] for m in body["messages"] if m["role"] == "user").split()[-1]
        acted = sum(str(m.get("content")).count("acted on") for m in body["messages"] if m["role"] != "assistant")
        if acted < 2:
            return Reply("Going on.", calls=[Call("act", {"key": f"{run}/{acted}"}), Call("look")])
        return Reply("All done, as was asked for.")


def _answer(name: str | None, arguments: str) -> str:
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def open_files(kind: str = "") -> int:
    """How many files are open, or only sockets."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(link.is_symlink() and os.readlink(link).startswith(kind) for link in links if os.path.lexists(link))


def own_threads() -> int:
    """Threads, but for those of pools that are kept for the next who needs one."""
    return sum(not thread.name.startswith(("asyncio_", "AnyIO")) for thread in threading.enumerate())


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def until(reached: Callable[[], bool]) -> None:
    """The server's threads close their side in their own time, and tell nobody."""
    with anyio.fail_after(10):
        while not reached():  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_a_thousand_runs_against_a_server_that_fails_at_random_all_end_with_a_reason() -> None:
    acted: Counter[str] = Counter()

    @tool(effect="once")
    async def act(key: str) -> str:
        """Act."""
        acted[key] += 1
        return f"acted on {key}"

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "nothing new"

    files, sockets, tasks, threads = open_files(), open_files("socket:"), len(asyncio.all_tasks()), own_threads()
    ended: Counter[StopReason | str] = Counter()
    memory: list[float] = []
    chaos = Chaos(7)
    with ScriptedServer(chaos, keep=False) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, timeout=0.5)
        limits = Limits(steps=12, seconds=20)
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with turn:
                with anyio.fail_after(25):
                    if number % 3:
                        result = await agent.run(f"Act, run {number}")
                        ended[result.reason] += 1
                    else:
                        events = [event async for event in agent.stream(f"Act, run {number}")]
                        assert isinstance(events[-1], RunFinished)
                        ended[StopReason(events[-1].reason)] += 1
            if sum(ended.values()) in (RUNS // 2, RUNS):
                memory.append(resident_mb())

        agent = ReAct("question -> answer", [act, look], lm=spec, policy=EVERYTHING, limits=limits)
        async with agent, anyio.create_task_group() as group:
            for number in range(RUNS):
                group.start_soon(one, number)
    assert sum(ended.values()) == RUNS
    assert len(chaos.faults) == 15
    assert set(ended) <= {StopReason.DONE, StopReason.MODEL_ERROR, StopReason.CONTEXT, StopReason.STEPS}
    assert ended[StopReason.DONE] > RUNS // 2, ended
    assert max(acted.values()) == 1
    assert len(asyncio.all_tasks()) == tasks
    await until(lambda: open_files("socket:") <= sockets and open_files() <= files and own_threads() <= threads)
    assert memory[-1] - memory[0] < 15, memory


SOME = [Fault(500), Fault(429, retry_after=0.01), Fault(cut=True), Fault(200, "{"), Fault(200, "null")]


@pytest.mark.parametrize("fault", SOME, ids=["500", "429", "cut", "no json", "null"])
async def test_one_failure_of_any_kind_is_survived(fault: Fault) -> None:
    with ScriptedServer([Reply("x", fault=fault), Reply("hi")]) as server:
        with anyio.fail_after(10):
            result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")
    assert result.outputs == {"answer": "hi"}
    assert result.steps == 1


async def test_a_server_that_answers_garbage_for_ever_ends_the_run() -> None:
    with ScriptedServer([Reply(fault=Fault(200, "[]"))]) as server:
        with anyio.fail_after(20):
            result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")
    assert result.reason is StopReason.MODEL_ERROR
    assert "can't be read" in result.detail


async def test_text_that_was_shown_is_not_said_twice_when_a_stream_is_cut() -> None:
    with ScriptedServer([Reply("A long answer in pieces.", fault=Fault(cut=True)), Reply("Another.")]) as server:
        agent = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url))
        events = [event async for event in agent.stream("?")]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason == "model_error"
    assert len(server.bodies) == 1
