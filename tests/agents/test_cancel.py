"""Cancelling reaches a run within 0.2 s, whatever it is doing."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from corral.agents import Agent, CodeAct, ModelSpec, ReAct
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.policy import Approval, ApprovalRequest, Event, Policy, RunFinished, SecurityPolicy
from corral.sandbox import DockerProvider, MontyProvider, SandboxProvider
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
TIMES = 20
Reached = Callable[[], None]


class Watch:
    """A sink that tells when an event of a kind comes, and keeps how runs ended."""

    def __init__(self, kind: str, reached: Reached) -> None:
        self.reasons: list[str] = []
        self._kind = kind
        self._reached = reached

    def emit(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.reasons.append(event.reason)
        elif type(event).__name__ == self._kind:
            self._reached()


async def latencies(agent: Agent, reached: asyncio.Event, times: int = TIMES) -> list[float]:
    took: list[float] = []
    async with agent:
        for _ in range(times):
            reached.clear()
            running = asyncio.create_task(agent.run("?"))
            with anyio.fail_after(20):
                await reached.wait()
                started = time.perf_counter()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            took.append(time.perf_counter() - started)
    return took


def p95(took: list[float]) -> float:
    return statistics.quantiles(took, n=20)[-1]


async def test_while_the_model_is_asked() -> None:
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def script(body: dict[str, Any], number: int) -> Reply:
        loop.call_soon_threadsafe(reached.set)
        return Reply(fault=Fault(hang=30))

    with ScriptedServer(script) as server:
        watch = Watch("", reached.set)
        agent = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url), sinks=[watch])
        assert p95(await latencies(agent, reached)) <= 0.2
    assert watch.reasons == ["cancelled"] * TIMES


@pytest.mark.parametrize("blocking", [False, True])
async def test_while_a_tool_runs(blocking: bool) -> None:
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()
    let_go = threading.Event()

    @tool(name="hang", effect="read")
    async def hang() -> str:
        """Hang."""
        reached.set()
        await anyio.sleep_forever()
        return ""

    @tool(name="hang", effect="read")
    def block() -> str:
        """Hang a thread."""
        loop.call_soon_threadsafe(reached.set)
        let_go.wait(20)
        return ""

    lm, _ = scripted_lm([Reply(calls=[Call("hang")])])
    watch = Watch("", reached.set)
    agent = ReAct("question -> answer", [block if blocking else hang], lm=lm, sinks=[watch])
    try:
        assert p95(await latencies(agent, reached)) <= 0.2
    finally:
        let_go.set()
    assert watch.reasons == ["cancelled"] * TIMES


@pytest.fixture(params=["monty", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> SandboxProvider:
    if request.param == "monty":
        return MontyProvider()
    request.getfixturevalue("docker_image")
    return DockerProvider()


async def test_while_a_cell_runs(sandbox: SandboxProvider) -> None:
    reached = asyncio.Event()

    @tool(effect="read")
    async def begun() -> str:
        """Tell that the cell runs."""
        reached.set()
        return ""

    lm, _ = scripted_lm([Reply(calls=[Call("python", {"code": "begun()\nwhile True:\n    pass"})])])
    watch = Watch("", reached.set)
    try:
        agent = CodeAct("question -> answer", [begun], lm=lm, sandbox=sandbox, sinks=[watch])
        assert p95(await latencies(agent, reached, TIMES)) <= 0.2
    finally:
        await sandbox.close()
    assert watch.reasons == ["cancelled"] * TIMES


async def test_while_a_person_is_asked() -> None:
    reached = asyncio.Event()

    class Slow:
        async def decide(self, request: ApprovalRequest) -> Approval:
            reached.set()
            await anyio.sleep_forever()
            raise AssertionError

    @tool(effect="once")
    def act() -> str:
        """Act."""
        return ""

    lm, _ = scripted_lm([Reply(calls=[Call("act")])])
    watch = Watch("", reached.set)
    agent = ReAct("question -> answer", [act], lm=lm, approver=Slow(), sinks=[watch])
    assert p95(await latencies(agent, reached)) <= 0.2
    assert watch.reasons == ["cancelled"] * TIMES


async def test_while_it_waits_to_ask_the_model_again() -> None:
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def script(body: dict[str, Any], number: int) -> Reply:
        loop.call_soon_threadsafe(reached.set)
        return Reply(fault=Fault(429, retry_after=20))

    with ScriptedServer(script) as server:
        watch = Watch("", reached.set)
        agent = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url), sinks=[watch])
        assert p95(await latencies(agent, reached)) <= 0.2
    assert watch.reasons == ["cancelled"] * TIMES
