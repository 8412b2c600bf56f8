"""How long a session of 300 turns takes from the journal on disk to its next model call.

python benchmarks/agents_resume.py [TURNS]

In new processes, imports left out, and 60 times in one. There, Python's garbage collector goes once in a while through
all that was ever imported, whatever runs just then; the `corral` commands spare it that with `gc.freeze()` after their
imports, as a service should. Both are shown; the collector is never off.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corral.agents import Journal, ReAct, Session
from corral.agents.testing import Reply, scripted_lm

TIMES = 60
PROCESSES = 20
SESSION = "long"


async def build(path: Path, turns: int) -> None:
    with Journal(path) as journal:
        lm, _ = scripted_lm(lambda request, number: Reply(f"answer {number} " + "word " * 50))
        session = Session(ReAct("question -> answer", lm=lm, journal=journal), id=SESSION)
        for number in range(turns):
            await session.run(f"question {number} " + "word " * 20)


async def resume(path: Path, turns: int, times: int) -> list[dict[str, float]]:
    """Milliseconds before the first model call: of the clock, of CPU, and of full collections."""
    asked: list[tuple[float, float, float]] = []
    begun, collecting = 0.0, 0.0

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal begun, collecting
        if info["generation"] == 2:
            begun, collecting = time.perf_counter(), collecting + (time.perf_counter() - begun) * (phase == "stop")

    def script(request: Any, number: int) -> Reply:
        asked.append((time.perf_counter(), time.process_time(), collecting))
        assert len(request.messages) > 2 * turns
        return Reply("again")

    gc.callbacks.append(collected)
    took: list[dict[str, float]] = []
    with Journal(path) as journal:
        lm, _ = scripted_lm(script, keep=False)
        agent = ReAct("question -> answer", lm=lm, journal=journal)
        for _ in range(times):
            before = (time.perf_counter(), time.process_time(), collecting)
            await Session.load(agent, SESSION).run("and now?")
            ms = [(after - since) * 1e3 for after, since in zip(asked[-1], before, strict=True)]
            took.append(dict(zip(("wall", "cpu", "gc"), ms, strict=True)))
    return took


def in_a_process(journal: Path, turns: int, times: int, *, freeze: bool) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        path = shutil.copy(journal, folder)
        command = [sys.executable, __file__, "--resume", path, str(turns), str(times), str(int(freeze))]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show(name: str, took: list[dict[str, float]]) -> None:
    for kind in ("wall", "cpu"):
        ms = [one[kind] for one in took]
        p95 = statistics.quantiles(ms, n=20)[-1]
        print(f"{name:28} {kind:4} {statistics.median(ms):6.1f} ms median, {p95:6.1f} p95, {max(ms):6.1f} most")  # noqa: T201
    if full := [one["gc"] for one in took if one["gc"]]:
        print(f"{'':28} {len(full)} of {len(took)} with a full collection, of {max(full):.1f} ms at most")  # noqa: T201


def main(turns: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite3"
        asyncio.run(build(path, turns))
        fresh = [one for _ in range(PROCESSES) for one in in_a_process(path, turns, 1, freeze=False)]
        show(f"{PROCESSES} new processes", fresh)
        show(f"{TIMES} in one, frozen", in_a_process(path, turns, TIMES, freeze=True))
        show(f"{TIMES} in one, as it is", in_a_process(path, turns, TIMES, freeze=False))
        size = path.stat().st_size / 1e6
    print(f"{turns} turns, {size:.1f} MB of journal, load {os.getloadavg()[0]:.1f}")  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:2] == ["--resume"]:
        path, turns, times, freeze = Path(sys.argv[2]), *map(int, sys.argv[3:])
        if freeze:
            gc.freeze()
        print(json.dumps(asyncio.run(resume(path, turns, times))))  # noqa: T201
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
