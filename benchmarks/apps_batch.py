"""A batch against a loopback model server, killed in the middle and started again: throughput, memory, what is lost.

python benchmarks/apps_batch.py [tasks] [concurrency]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corral.agents.testing import Reply, ScriptedServer


def main(tasks: int = 500, concurrency: int = 16) -> None:
    with tempfile.TemporaryDirectory() as name, ScriptedServer(echo) as server:
        folder = Path(name)
        lines = (json.dumps({"id": f"t{number}", "task": f"say {number}"}) for number in range(tasks))
        (folder / "tasks.jsonl").write_text("\n".join(lines) + "\n")
        command = [
            sys.executable, "-m", "corral.apps", "batch", "tasks.jsonl", "--model", "openai/m",
            "--api-base", server.url, "--concurrency", str(concurrency),
        ]  # fmt: skip
        environment = {**os.environ, "CORRAL_HOME": str(folder / "home")}
        first = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        while len(server.bodies) < tasks // 2:
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = len(results(folder))
        started = time.monotonic()
        second = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        _, status, usage = os.wait4(second.pid, 0)
        seconds = time.monotonic() - started
        second.returncode = status
        found = results(folder)
        assert second.stderr is not None
        said = second.stderr.read().strip()
        second.stderr.close()
    ids = [line["id"] for line in found]
    right = sum(line["outputs"] == {"answer": f"I say {line['id'][1:]}"} for line in found)
    say(f"killed after {before} results; then: {next(line for line in said.splitlines() if ' tasks: ' in line)}")
    say(f"results {len(ids)}, distinct {len(set(ids))}, right {right} of {tasks}; requests {len(server.bodies)}")
    say(
        f"{(tasks - before) / seconds:.0f} tasks a second with start-up, "
        f"{usage.ru_utime + usage.ru_stime:.1f} s CPU, peak {usage.ru_maxrss / 1024:.0f} MiB"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def echo(body: dict[str, Any], number: int) -> Reply:
    return Reply("I say " + str(body["messages"][-1]["content"]).rsplit(" ", 1)[-1], delay=0.02)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tasks.jsonl.results.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
