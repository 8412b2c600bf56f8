"""What starting costs beside DSPy, and whose the installed megabytes are: `python benchmarks/import_cost.py [ROUNDS]`.

CPU of fresh processes, in turn, so that other work on the machine falls on all, and the peak memory of each. The
installed packages are this interpreter's: with IPython among them, as development has it, DSPy takes longer to import.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from corral.agents.testing import ScriptedServer

AIM = 0.25
"""Seconds of CPU that importing an agent may cost above `import dspy`."""
WAIT = (
    "import os, sys\n"
    "child = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)\n"
    "_, status, used = os.wait4(child, 0)\n"
    "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)\n"
)
"""Starts a process from a small one: a child's peak is at least the size of what started it."""


def show(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def measure(arguments: list[str], folder: str) -> tuple[float, float]:
    """Seconds of CPU and the peak in MB of a fresh interpreter with these arguments."""
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "CORRAL_HOME": f"{folder}/data"}
    command = [sys.executable, "-c", WAIT, sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    status, seconds, peak = done.stderr.split()[-3:]
    if status != "0":
        raise SystemExit(f"{arguments} failed: {done.stderr}")
    return float(seconds), float(peak)


def measure_starts(rounds: int) -> None:
    with ScriptedServer(lambda body, number: "ok") as server, tempfile.TemporaryDirectory() as folder:
        cases = {
            "import dspy": ["-c", "import dspy"],
            "from corral.agents import ReAct": ["-c", "from corral.agents import ReAct"],
            "import openai": ["-c", "import openai"],
            "corral run": ["-m", "corral.apps", "run", "?", "--model", "openai/m", "--api-base", server.url],
            "corral --help": ["-m", "corral.apps", "--help"],
        }
        seen = [{name: measure(case, folder) for name, case in cases.items()} for _ in range(rounds + 1)][1:]
    for name in cases:
        seconds, peak = (statistics.median(one[name][part] for one in seen) for part in (0, 1))
        show(f"{name:32} {seconds:6.2f} s of CPU {peak:5.0f} MB")
    above = statistics.median(one["from corral.agents import ReAct"][0] - one["import dspy"][0] for one in seen)
    show(f"above import dspy: {above:.2f} s, {'within' if above <= AIM else 'MISSED'} {AIM} s")


def needs(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What is installed of a distribution's requirements."""
    for line in metadata.requires(name) or []:
        wanted = Requirement(line)
        marker, asked = wanted.marker, extras or {""}
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in asked):
            try:
                metadata.distribution(wanted.name)
            except metadata.PackageNotFoundError:
                continue
            yield str(canonicalize_name(wanted.name)), frozenset(wanted.extras)


def reached(without: str = "") -> set[str]:
    """The distributions of a plain install, if it did not require one of them."""
    seen: set[tuple[str, frozenset[str]]] = set()
    ahead = [("corral", frozenset[str]())]
    while ahead:
        if (one := ahead.pop()) not in seen:
            seen.add(one)
            ahead.extend(each for each in needs(*one) if (one[0], each[0]) != ("corral", without))
    return {name for name, _ in seen}


def megabytes(names: set[str]) -> float:
    files = [file.locate() for name in names for file in metadata.files(name) or []]
    return sum(os.path.getsize(str(file)) for file in files if os.path.isfile(str(file))) / 1e6


def measure_size() -> None:
    everything = reached()
    show(f"a plain install: {len(everything)} distributions, {megabytes(everything):.0f} MB; without")
    direct = {name for name, _ in needs("corral", frozenset())}
    lost = {name: everything - reached(name) for name in direct}
    for name in sorted(direct, key=lambda name: -megabytes(lost[name])):
        if lost[name]:
            show(f"  {name:20} {len(lost[name]):3} fewer, {megabytes(lost[name]):6.1f} MB less")


if __name__ == "__main__":
    measure_size()
    measure_starts(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
