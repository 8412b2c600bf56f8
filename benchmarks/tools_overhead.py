"""What a call costs over the SDK's bare client, on one stdio server, in one run: medians in milliseconds, and the CPU
time of this process, of which other work on the machine takes less.

python benchmarks/tools_overhead.py [CALLS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import MCPServer, StdioServer, Toolbox

SCRIPT = str(Path(__file__).parents[1] / "tests" / "tools" / "servers" / "odd.py")


Times = list[tuple[float, float]]
"""Of calls, and of the CPU in them; milliseconds."""


async def measure(calls: int, call: Callable[[], Awaitable[object]]) -> Times:
    times: Times = []
    for _ in range(calls):
        start, before = time.perf_counter(), time.process_time()
        await call()
        times.append(((time.perf_counter() - start) * 1000, (time.process_time() - before) * 1000))
    return times


async def main(calls: int) -> None:
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
    bare: Times = []
    ours: Times = []
    gated: Times = []
    async with (
        Client(StdioServerParameters(command=sys.executable, args=[SCRIPT]), cache=None) as client,
        Toolbox(MCPServer("odd", StdioServer(sys.executable, (SCRIPT,)))) as box,
    ):
        tool = box["odd_pid"]

        async def source() -> None:
            run = tool._run  # the source alone, as the SDK's client is alone
            await run({})

        async def through_gate() -> None:
            action = Action(tool.resource, "call", arguments=tool.check({}))
            await gate.perform(action, lambda admission: tool.call({}, admission))

        for _ in range(5):  # in turns, so that a busy machine is busy for all
            bare += await measure(calls // 5, lambda: client.call_tool("pid", {}))
            ours += await measure(calls // 5, source)
            gated += await measure(calls // 5, through_gate)
        start = time.perf_counter()
        action = Action(box["odd_big"].resource, "call", arguments={"size": 50_000_000})
        seen = await gate.perform(action, lambda admission: box["odd_big"].call({"size": 50_000_000}, admission))
        big = time.perf_counter() - start
    for name, times in (("mcp.Client", bare), ("Corral's source", ours), ("and the gate", gated)):
        spent, cpu = zip(*times, strict=True)
        middle, cpu_middle = statistics.median(spent), statistics.median(cpu)
        print(f"{name:16} p50 {middle:.3f} ms, min {min(spent):.3f} ms, CPU p50 {cpu_middle:.3f} ms")  # noqa: T201
    print(f"50 MB result     {big:.2f} s, {len(seen.text)} characters")  # noqa: T201


anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 500)
