import os
import subprocess
import sys
from pathlib import Path

from corral.agents.testing import ScriptedServer

from .conftest import Corral


def cpu_seconds(arguments: list[str], folder: Path) -> float:
    """User and system time of a fresh process, the least of three."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CORRAL_HOME": str(folder / "data")}
    spent: list[float] = []
    for _ in range(3):
        running = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = status
        assert status == 0
        spent.append(usage.ru_utime + usage.ru_stime)
    return min(spent)


def test_help_is_there_at_once(tmp_path: Path) -> None:
    assert cpu_seconds(["-m", "corral.apps", "--help"], tmp_path) <= 0.25


def test_a_run_adds_half_a_second_at_most_to_importing_dspy(tmp_path: Path) -> None:
    bare = cpu_seconds(["-c", "import dspy"], tmp_path)
    with ScriptedServer(lambda body, number: "ok") as server:
        run = ["-m", "corral.apps", "run", "?", "--model", "openai/m", "--api-base", server.url]
        assert cpu_seconds(run, tmp_path) - bare <= 0.5


def test_a_full_garbage_collection_does_not_go_through_what_was_imported(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(
        "import gc\n\n\ndef task(agent):\n    return f'{gc.isenabled()} {len(gc.get_objects()) < 10_000}'\n"
    )
    done = corral("run", "-f", "task.py", "--model", "openai/m", "--api-base", "http://127.0.0.1:9/v1")
    assert (done.returncode, done.stdout) == (0, "True True\n")
