"""How long a session of 300 turns takes from the journal to its next model call.

python benchmarks/agents_resume.py [TURNS]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corral.agents import Journal, ReAct, Session
from corral.agents.testing import Reply, scripted_lm


async def main(turns: int) -> None:
    asked: list[float] = []

    def script(request: Any, number: int) -> Reply:
        asked.append(time.perf_counter())
        return Reply(f"answer {number} " + "word " * 50)

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "runs.sqlite3") as journal:
        lm, _ = scripted_lm(script)
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        session = Session(agent)
        for number in range(turns):
            await session.run(f"question {number} " + "word " * 20)
        took: list[float] = []
        for _ in range(20):
            started = time.perf_counter()
            await Session.load(agent, session.id).run("and now?")
            took.append((asked[-1] - started) * 1e3)
        size = journal.path.stat().st_size / 1e6
    print(f"{turns} turns: {statistics.median(took):.1f} ms median, {max(took):.1f} ms most, {size:.1f} MB of journal")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
