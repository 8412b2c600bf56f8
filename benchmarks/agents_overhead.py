"""The overhead of the loop beside its anchors, in one sitting: CPU, bytes, concurrency, import, memory, size.

python benchmarks/agents_overhead.py HARNESS --venvs DIR [--rounds 3] [--only NAME ...]

HARNESS is the folder of the harness (bench.py, fake_server.py, import_time.py, entries/). DIR gets one environment for
each client, made with uv where it is missing; Corral's is installed from this working copy, without its tests' tools.
Everything stays on loopback. It takes about four minutes a round on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
OURS = REPO / "benchmarks" / "overhead"

PACKAGES = {
    "corral": [str(REPO)],
    "dspy": ["dspy>=3.4.1,<3.5"],
    "raw": ["openai", "uvloop"],
    "pydantic_ai_slim": ["pydantic-ai-slim[openai]"],
    "maf": ["agent-framework-core", "agent-framework-openai"],
}


@dataclass(frozen=True)
class Client:
    """One client: its entry in the harness or ours, the environment that it runs in, and what a program imports."""

    title: str
    entry: str
    venv: str
    imports: str


CLIENTS = (
    Client("the bare lm15 engine", str(OURS / "bare_lm15.py"), "corral", "import dspy.lm15"),
    Client("raw httpx", "raw_httpx", "raw", "import httpx2 as httpx"),
    Client("raw openai", "raw_openai", "raw", "from openai import AsyncOpenAI"),
    Client("**Corral, native**", str(OURS / "corral_native.py"), "corral", "from corral.agents import ReAct"),
    Client("**Corral, text**", str(OURS / "corral_text.py"), "corral", "from corral.agents import ReAct"),
    Client("agent-framework", "maf_", "maf", "from agent_framework import Agent"),
    Client("pydantic-ai-slim", "pydantic_ai_slim_", "pydantic_ai_slim", "from pydantic_ai import Agent"),
    Client("dspy.ReActV2, text", "dspy_reactv2_text", "dspy", "import dspy"),
    Client("dspy.ReActV2, native", "dspy_reactv2", "dspy", "import dspy"),
)

LONG = frozenset(("the bare lm15 engine", "raw httpx", "**Corral, native**", "**Corral, text**"))
"""Whose runs of 200 steps are measured; the others take minutes."""


class Sitting:
    """Everything measured, by client and figure, a value for each round."""

    def __init__(self, harness: Path, venvs: Path) -> None:
        self._harness = harness
        self._venvs = venvs
        self.seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def prepare(self, names: set[str]) -> None:
        """Make the environments that are missing; ours is installed anew, as the code may have changed."""
        for name in sorted(names):
            python = self._python(name)
            if not python.exists():
                run(["uv", "venv", "-q", "--python", f"{sys.version_info.major}.{sys.version_info.minor}",
                     str(self._venvs / name)])  # fmt: skip
            elif name != "corral":
                continue
            again = ["--reinstall-package", "corral"] if name == "corral" else []
            run(["uv", "pip", "install", "-q", *again, "--python", str(python), *PACKAGES[name]])

    def round(self, clients: list[Client], url: str) -> None:
        """Measure each client once, in turn, so that a noisy machine hits all alike."""
        for client in clients:
            self._bench(client, "single", url, "runs=30", "steps=10")
            self._bench(client, "conc", url, "runs=100", "reps=2")
            self._bench(client, "rss", url)
            if client.title in LONG:
                self._bench(client, "single", url, "runs=5", "warm=2", "steps=200")
            self._imported(client)

    def size(self, client: Client) -> tuple[int, float]:
        """Distributions, and MB of them without byte code."""
        folder = next((self._venvs / client.venv / "lib").glob("python3*/site-packages"))
        files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return len(list(folder.glob("*.dist-info"))), sum(path.stat().st_size for path in files) / 1e6

    def _bench(self, client: Client, mode: str, url: str, *options: str) -> None:
        command = [str(self._python(client.venv)), "bench.py", client.entry, mode, url, *options]
        found = json.loads(run(command, self._harness).splitlines()[-1])
        seen, long = self.seen[client.title], "steps=200" in options
        if mode == "single":
            seen["cpu_200" if long else "cpu"].append(found["cpu_ms"])
            seen["kb_200" if long else "kb"].append(found["req_kb"])
            if not long:
                seen["rss_after"].append(found["rss_mb"])
        elif mode == "conc":
            assert not found["errors"], found
            seen["conc_cpu"].append(found["cpu_ms_per_run"])
            seen["conc_rate"].append(found["runs_per_s"])
        else:
            seen["rss"].append(found["rss_mb"])

    def _imported(self, client: Client) -> None:
        # A name of our own: the harness leaves some entries out by theirs.
        command = [str(self._python(client.venv)), "import_time.py", client.imports, client.title]
        self.seen[client.title]["import"].append(json.loads(run(command, self._harness))["import_cpu_ms"])

    def _python(self, venv: str) -> Path:
        return self._venvs / venv / "bin" / "python"


def run(command: list[str], folder: Path = REPO) -> str:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def server(harness: Path, python: Path) -> Iterator[str]:
    """The scripted server of the harness on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [str(python), "fake_server.py", str(port)], cwd=harness, stdout=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def table(sitting: Sitting, clients: list[Client]) -> str:
    head = (
        "client", "CPU ms, 10 steps", "body kB", "CPU ms a run, 100 at once", "runs/s", "CPU ms, 200 steps",
        "import CPU ms", "RSS MB, idle / after", "distributions", "MB",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for client in sorted(clients, key=lambda one: median(sitting, one, "cpu")):
        dists, megabytes = sitting.size(client)
        cells = (
            client.title,
            spread(sitting, client, "cpu"),
            f"{median(sitting, client, 'kb'):.1f}",
            spread(sitting, client, "conc_cpu"),
            f"{median(sitting, client, 'conc_rate'):.0f}",
            spread(sitting, client, "cpu_200") if client.title in LONG else "",
            f"{median(sitting, client, 'import'):.0f}",
            f"{median(sitting, client, 'rss'):.0f} / {median(sitting, client, 'rss_after'):.0f}",
            str(dists),
            f"{megabytes:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def aims(sitting: Sitting, clients: list[Client]) -> Iterator[str]:
    """What was aimed at, and what came of it."""
    by_title = {client.title: client for client in clients}
    ours, bare = by_title.get("**Corral, native**"), by_title.get("the bare lm15 engine")
    if ours is None:
        return
    anchors = (bare, by_title.get("raw httpx"), by_title.get("raw openai"))
    frameworks = [one for one in clients if one not in anchors and "Corral" not in one.title]
    cpu, at_once, body = (median(sitting, ours, name) for name in ("cpu", "conc_cpu", "kb"))
    yield judged("CPU of a 10-step run", cpu, 25, "ms")
    yield judged("CPU of a run at 100 at once", at_once, 30, "ms")
    if frameworks:
        yield judged("CPU, against the best framework's", cpu, min(median(sitting, f, "cpu") for f in frameworks), "ms")
    others = [median(sitting, client, "kb") for client in clients if "Corral" not in client.title]
    if others:
        yield judged("bytes of the bodies, within 15 % of the leanest", body, 1.15 * min(others), "kB")
    if bare is not None:
        most = 1.2 * median(sitting, bare, "cpu_200")
        yield judged("CPU of 200 steps, against the bare engine's + 20 %", median(sitting, ours, "cpu_200"), most, "ms")


def judged(what: str, seen: float, most: float, unit: str) -> str:
    return f"- {what}: {seen:.1f} {unit}, at most {most:.1f}: {'met' if seen <= most else 'MISSED'}"


def median(sitting: Sitting, client: Client, name: str) -> float:
    return statistics.median(sitting.seen[client.title][name])


def spread(sitting: Sitting, client: Client, name: str) -> str:
    seen = sitting.seen[client.title][name]
    return f"{statistics.median(seen):.1f} ({min(seen):.1f} - {max(seen):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="The overhead of the loop beside its anchors.")
    parser.add_argument("harness", type=Path)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="parts of titles")
    given = parser.parse_args()
    clients = [one for one in CLIENTS if not given.only or any(part in one.title for part in given.only)]
    sitting = Sitting(given.harness.resolve(), given.venvs.resolve())
    sitting.prepare({client.venv for client in clients} | {"raw"})
    load = [os.getloadavg()[0]]
    with server(given.harness, given.venvs.resolve() / "raw" / "bin" / "python") as url:
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)  # noqa: T201
            sitting.round(clients, url)
            load.append(os.getloadavg()[0])
    print(table(sitting, clients))  # noqa: T201
    print(f"\nMedian (least - most) of {given.rounds} rounds; load {min(load):.1f} - {max(load):.1f}.\n")  # noqa: T201
    print("\n".join(aims(sitting, clients)))  # noqa: T201


if __name__ == "__main__":
    main()
