"""Whether sandboxes leak: `python benchmarks/sandbox_soak.py` runs 20,000 cells with random crashes, then holds a crowd
of 1000 sessions in 50 containers (about 4 GB), and counts what there was before and what is left after.

`--cells N`, `--sessions N` and `--containers N` make it smaller. Status 1 if something leaked. Needs the sandbox image.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

from docker import from_env

from corral.sandbox import DockerProvider, SandboxProtocolError, SandboxSpec, Sizes

CRASHES = {
    "exit": "import os\nos._exit(1)",
    "abort": "import os\nos.abort()",
    "killed": "import os\nos.kill(os.getpid(), 9)",
    "null pointer": "import ctypes\nctypes.string_at(0)",
    "processes": "import subprocess\nfor _ in range(5):\n    subprocess.Popen(['sleep', '60'])\nimport os\nos._exit(2)",
    "threads": "import threading, time\nfor _ in range(5):\n    threading.Thread(target=time.sleep, args=[60]).start()",
    "timeout": "while True:\n    pass",
    "garbage": """
import os, time
for n in range(3, 20):
    try:
        os.write(n, b"garbage" * 50)
    except OSError:
        pass
time.sleep(5)
""",
}


@dataclass(frozen=True)
class Census:
    """What there is: of this process, and of the containers that it owns."""

    descriptors: int
    megabytes: float
    tasks: int
    containers: int
    processes: int
    container_megabytes: float
    folders: int

    @classmethod
    def take(cls, label: str) -> Census:
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        client = from_env()  # one for each look, so that its own connections are not counted
        found = [each for each in client.containers.list() if each.labels.get("corral.label") == label]
        stats = [each.stats(stream=False, one_shot=True) for each in found]
        client.close()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            descriptors=descriptors,
            megabytes=round(pages * os.sysconf("SC_PAGE_SIZE") / 1024**2, 1),
            tasks=len(asyncio.all_tasks()),
            containers=len(found),
            processes=sum(int(each["pids_stats"].get("current", 0)) for each in stats),
            container_megabytes=round(sum(_used(each["memory_stats"]) for each in stats) / 1024**2, 1),
            folders=sum(_is_ours(folder) for folder in Path(tempfile.gettempdir()).glob("corral-sandbox-*")),
        )

    def grown(self, before: Census, megabytes: float) -> list[str]:
        """What is more than before; of memory, by more than so much."""
        problems: list[str] = []
        for field in fields(self):
            was, now = getattr(before, field.name), getattr(self, field.name)
            if now - was > (megabytes if "megabytes" in field.name else 0):
                problems.append(f"{field.name}: {was} before, {now} after")
        return problems


def _is_ours(folder: Path) -> bool:
    try:
        return f'"{os.getpid()}:' in (folder / "owner.json").read_text()
    except OSError:
        return False


def _used(memory: dict[str, object]) -> int:
    stats = memory["stats"]
    assert isinstance(stats, dict)
    return int(stats.get("rss", stats.get("anon", 0)))


async def soak(cells: int, *, seed: int = 7, workers: int = 8, crashing: float = 0.02) -> list[str]:
    """Run cells in sessions that come and go; returns what has leaked."""
    generator = random.Random(seed)
    crashes: Counter[str] = Counter()
    label = f"soak-{os.getpid()}"
    left = cells
    lost = 0

    async def session(provider: DockerProvider) -> None:
        nonlocal left, lost
        async with await provider.open(SandboxSpec(label=label)) as sandbox:
            kept = -1
            for n in range(generator.randrange(1, 200)):
                if left <= 0:
                    return
                left -= 1
                if generator.random() >= crashing:
                    assert (await sandbox.execute(f"x = {n}\nx", timeout=30)).value == n
                    kept = n
                    continue
                kind = generator.choice(list(CRASHES))
                crashes[kind] += 1
                try:
                    execution = await sandbox.execute(CRASHES[kind], timeout=0.2 if kind == "timeout" else 10)
                except SandboxProtocolError:
                    return
                if not execution.state_kept:
                    lost += 1
                elif kept >= 0:
                    assert (await sandbox.execute("x", timeout=30)).value == kept

    async def work(provider: DockerProvider) -> None:
        while left > 0:
            await session(provider)

    async def run(provider: DockerProvider, number: int) -> Census:
        nonlocal left
        left = number
        await asyncio.gather(*(work(provider) for _ in range(workers)))
        for _ in range(100):  # what was killed is reaped, and what is kept ready is ready
            await asyncio.sleep(0.1)
            taken = Census.take(label)
            if taken.processes <= 3 * taken.containers:
                break
        return taken

    async with DockerProvider(sizes=Sizes(sessions=workers)) as provider:
        before = await run(provider, max(200, cells // 20))
        crashes.clear()
        lost = 0
        started = time.perf_counter()
        after = await run(provider, cells)
        seconds = time.perf_counter() - started
    print(f"soak: {cells} cells in {seconds:.0f} s, {sum(crashes.values())} crashes, names lost {lost} times")  # noqa: T201
    print(f"  {dict(crashes)}\n  before {before}\n  after  {after}")  # noqa: T201
    closed = Census.take(label)
    problems = after.grown(before, megabytes=8)
    return problems + ([f"{closed.containers} containers are left"] if closed.containers else [])


async def crowd(sessions: int, containers: int) -> list[str]:
    """Hold sessions, each with a name; returns what was wrong, and what is left of them."""
    label = f"crowd-{os.getpid()}"
    async with DockerProvider() as provider, await provider.open(SandboxSpec(label=label)):
        Census.take(label)  # what is imported and started once is there from here on
    before = Census.take(label)
    problems: list[str] = []
    async with DockerProvider(sizes=Sizes(ready=0, sessions=sessions // containers)) as provider:
        started = time.perf_counter()
        held = [await provider.open(SandboxSpec(label=label)) for _ in range(sessions)]
        opened = time.perf_counter() - started
        for number, each in enumerate(held):
            await each.execute(f"x = {number}", timeout=30)
        values = [(await each.execute("x", timeout=30)).value for each in held]
        if values != list(range(sessions)):
            problems.append("a session has lost its name, or has another's")
        during = Census.take(label)
    if during.containers != containers:
        problems.append(f"{during.containers} containers, not {containers}")
    print(f"crowd: {sessions} sessions in {during.containers} containers held, opened in {opened:.0f} s")  # noqa: T201
    after = Census.take(label)
    print(f"  before {before}\n  during {during}\n  after  {after}")  # noqa: T201
    return problems + after.grown(before, megabytes=64)


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--containers", type=int, default=50)
    wanted = parser.parse_args()
    problems = await soak(wanted.cells) if wanted.cells else []
    if wanted.sessions:
        problems += await crowd(wanted.sessions, wanted.containers)
    for problem in problems:
        print(f"LEAK  {problem}")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
