"""What delegating costs: CPU of a run that works for another one, beside the same run alone; and 100 teams at once.

python benchmarks/agents_team.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dspy.lm15 import Request

from corral.agents import Journal, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Budget, Spend

TIMES = 200


def says(*turns: Reply | str) -> Any:
    def script(request: Request, number: int) -> Reply | str:
        return turns[min(sum(message.role == "assistant" for message in request.messages), len(turns) - 1)]

    return scripted_lm(script)[0]


async def cpu_ms(work: Callable[[], Awaitable[Any]]) -> float:
    """Of one, in this process."""
    await work()
    started = time.process_time()
    for _ in range(TIMES):
        await work()
    return (time.process_time() - started) * 1e3 / TIMES


async def main() -> None:
    alone = ReAct("question -> answer", lm=says("Yes."), name="alone")
    helpers = [ReAct("question -> answer", lm=says("Yes."), name=name) for name in ("one", "two")]
    asks = Reply(calls=[Call(helper.name, {"question": "really?"}) for helper in helpers])
    team = ReAct("question -> answer", helpers, lm=says(asks, "Yes."), name="boss")
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "runs.sqlite3") as journal:
        kept = ReAct("question -> answer", helpers, lm=says(asks, "Yes."), name="boss", journal=journal)
        one = await cpu_ms(lambda: alone.run("?"))
        both = await cpu_ms(lambda: team.run("?"))
        written = await cpu_ms(lambda: kept.run("?"))
    print(f"a run alone {one:.2f} ms; a team of three, four model calls, {both:.2f} ms, in a journal {written:.2f} ms")  # noqa: T201
    shared = Budget()
    together = ReAct("question -> answer", helpers, lm=says(asks, "Yes."), name="boss", budget=shared)
    started = time.perf_counter()
    results = await asyncio.gather(*(together.run("?") for _ in range(100)))
    total = sum((result.spent for result in results), Spend())
    took = time.perf_counter() - started
    told = "the same" if total == shared.spent else total
    print(f"100 teams at once {took:.2f} s; spent {shared.spent}, shown {told}")  # noqa: T201


asyncio.run(main())
