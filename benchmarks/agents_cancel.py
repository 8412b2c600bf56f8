"""How long a cancelled run takes to end, in each phase: 95th percentile of 40.

python benchmarks/agents_cancel.py
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import Any

import anyio

from corral.agents import Agent, CodeAct, ModelSpec, ReAct, delegate
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.policy import Approval, ApprovalRequest, Policy, SecurityPolicy, TextDelta
from corral.sandbox import DockerProvider, MontyProvider, image_exists
from corral.tools import tool

TIMES = 40


async def measure(phase: str, agent: Agent, reached: asyncio.Event, run: Any = None) -> None:
    took: list[float] = []
    async with agent:
        for _ in range(TIMES):
            reached.clear()
            running = asyncio.create_task((run or agent.run)("?"))
            await reached.wait()
            started = time.perf_counter()
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), "it ended before it was cancelled"
            took.append((time.perf_counter() - started) * 1e3)
    print(f"{phase:14} p95 {statistics.quantiles(took, n=20)[-1]:6.1f} ms, median {statistics.median(took):6.1f} ms")  # noqa: T201


async def main() -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def silent(body: dict[str, Any], number: int) -> Reply:
        loop.call_soon_threadsafe(reached.set)
        return Reply(fault=Fault(hang=60))

    @tool(effect="read")
    async def hang() -> str:
        """Hang."""
        reached.set()
        await anyio.sleep_forever()
        return ""

    let_go = threading.Event()

    @tool(effect="read")
    def block() -> str:
        """Hang a thread."""
        loop.call_soon_threadsafe(reached.set)
        let_go.wait(60)
        return ""

    @tool(effect="read")
    async def begun() -> str:
        """Tell that the cell runs."""
        reached.set()
        return ""

    @tool(effect="once")
    def act() -> str:
        """Act."""
        return ""

    class Slow:
        async def decide(self, request: ApprovalRequest) -> Approval:
            reached.set()
            await anyio.sleep_forever()
            raise AssertionError

    with ScriptedServer(silent) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url)
        await measure("model", ReAct("question -> answer", lm=spec), reached)

    with ScriptedServer(["word " * 100_000]) as server:
        streaming = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url))

        async def read(task: str) -> None:
            async for event in streaming.stream(task):
                if isinstance(event, TextDelta):
                    reached.set()

        await measure("text arriving", streaming, reached, read)

    def refuses(body: dict[str, Any], number: int) -> Reply:
        loop.call_soon_threadsafe(reached.set)
        return Reply(fault=Fault(429, retry_after=20))

    with ScriptedServer(refuses) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url)
        await measure("wait to retry", ReAct("question -> answer", lm=spec), reached)
    await measure(
        "tool", ReAct("question -> answer", [hang], lm=scripted_lm([Reply(calls=[Call("hang")])])[0]), reached
    )
    below = ReAct("question -> answer", [hang], lm=scripted_lm([Reply(calls=[Call("hang")])])[0], name="helper")
    lm, _ = scripted_lm([Reply(calls=[Call("helper", {"question": "?"})])])
    policy = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
    await measure("delegated tool", ReAct("question -> answer", [delegate(below)], lm=lm, policy=policy), reached)
    cell = Reply(calls=[Call("python", {"code": "begun()\nwhile True:\n    pass"})])
    lm, _ = scripted_lm([Reply(calls=[Call("block")])])
    await measure("blocking tool", ReAct("question -> answer", [block], lm=lm), reached)
    let_go.set()
    lm, _ = scripted_lm([cell])
    await measure("cell in Monty", CodeAct("question -> answer", [begun], lm=lm, sandbox=MontyProvider()), reached)
    if await image_exists():
        docker = DockerProvider()
        await measure("cell in Docker", CodeAct("question -> answer", [begun], lm=lm, sandbox=docker), reached)
        await docker.close()
    lm, _ = scripted_lm([Reply(calls=[Call("act")])])
    await measure("approval", ReAct("question -> answer", [act], lm=lm, approver=Slow()), reached)


if __name__ == "__main__":
    asyncio.run(main())
