import os
import shlex
import subprocess
import sys
from pathlib import Path

from corral.agents.testing import Call, Reply, ScriptedServer

from .conftest import Corral


def test_a_new_project_works_as_it_is_printed(corral: Corral, tmp_path: Path) -> None:
    made = corral("init", "farm")
    assert made.returncode == 0
    steps = [line.split("#")[0].strip() for line in made.stdout.splitlines() if line.startswith("  ")]
    assert len(steps) == 6
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}

    def follow(step: str, **variables: str) -> str:
        done = subprocess.run(
            shlex.split(step), cwd=tmp_path / "farm", capture_output=True, text=True, timeout=120, check=False,
            env={**environment, **variables}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
        return done.stdout

    assert "1 passed" in follow(steps[0])
    assert "nothing odd" in follow(steps[1])
    assert "time_get_current_time" in follow(steps[2])
    assert steps[3] == "corral chat --mcp-config mcp.json"  # needs a terminal; test_chat drives one like it
    script = [Reply(calls=[Call("word_count", {"text": "to be or not to be"})]), Reply("There are 6.")] * 2
    with ScriptedServer(script) as server:
        model = {"CORRAL_MODEL": "openai/m", "CORRAL_API_BASE": server.url}
        assert follow(steps[4], **model) == "There are 6.\n"
        assert follow(steps[5], **model) == "There are 6.\n"
    assert server.bodies[0]["messages"][0]["content"].startswith("Do the task. Count words with the tool")


def test_files_that_exist_are_never_touched(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("mine")
    again = corral("init")
    assert again.returncode == 2
    assert "nothing was written" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.yaml"]
