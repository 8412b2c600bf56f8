"""How long a session of 300 turns takes from the journal to its next model call, 60 times.

python benchmarks/agents_resume.py [TURNS]

The slowest ones are those in which Python's garbage collector goes through everything that was ever imported (CPU), or
in which the machine was busy (wall).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corral.agents import Journal, ReAct, Session
from corral.agents.testing import Reply, scripted_lm

TIMES = 60


async def main(turns: int) -> None:
    asked: list[tuple[float, float]] = []

    def script(request: Any, number: int) -> Reply:
        asked.append((time.perf_counter(), time.process_time()))
        return Reply(f"answer {number} " + "word " * 50)

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "runs.sqlite3") as journal:
        lm, _ = scripted_lm(script)
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        session = Session(agent)
        for number in range(turns):
            await session.run(f"question {number} " + "word " * 20)
        wall: list[float] = []
        cpu: list[float] = []
        for _ in range(TIMES):
            started, worked = time.perf_counter(), time.process_time()
            await Session.load(agent, session.id).run("and now?")
            wall.append((asked[-1][0] - started) * 1e3)
            cpu.append((asked[-1][1] - worked) * 1e3)
        size = journal.path.stat().st_size / 1e6
    for name, took in (("wall", wall), ("CPU", cpu)):
        p95 = statistics.quantiles(took, n=20)[-1]
        print(f"{name:4} {statistics.median(took):6.1f} ms median, {p95:6.1f} p95, {max(took):6.1f} most")  # noqa: T201
    print(f"{turns} turns, {size:.1f} MB of journal, load {os.getloadavg()[0]:.1f}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
