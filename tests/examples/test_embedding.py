import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from corral.agents.testing import Call, Reply, ScriptedServer

FOLDER = Path(__file__).parents[2] / "examples" / "embedding"


def run(name: str, server: ScriptedServer, home: Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CORRAL_MODEL": "openai/m",
        "CORRAL_API_BASE": server.url,
    }
    done = subprocess.run(
        [sys.executable, FOLDER / name], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plain_program(tmp_path: Path) -> None:
    script = [
        Reply(calls=[Call("stock", {"item": "hay"})]),
        Reply(calls=[Call("submit", {"answer": "seven bales", "count": 7})]),
    ]
    with ScriptedServer(script) as server:
        assert run("sync.py", server, tmp_path) == "{'answer': 'seven bales', 'count': 7}\n"


def test_runs_at_once(tmp_path: Path) -> None:
    with ScriptedServer(lambda body, number: Reply("hay" if "horse" in str(body) else "leaves")) as server:
        assert run("asynchronous.py", server, tmp_path) == "[{'food': 'hay'}, {'food': 'leaves'}]\n"


def test_a_stream(tmp_path: Path) -> None:
    with ScriptedServer(["Rayleigh scattering."]) as server:
        assert run("streaming.py", server, tmp_path) == "Rayleigh scattering.\n[done]\n"


async def test_a_web_application(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(["Rayleigh scattering."]) as server:
        monkeypatch.setenv("CORRAL_MODEL", "openai/m")
        monkeypatch.setenv("CORRAL_API_BASE", server.url)
        names: dict[str, Any] = {}
        exec(compile((FOLDER / "web.py").read_text(), "web.py", "exec", dont_inherit=True), names)
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
            answer = await client.get("/ask", params={"question": "Why is the sky blue?"})
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert events[0]["type"] == "RunStarted"
    assert events[-1]["type"] == "RunFinished"
    assert "Rayleigh scattering." in answer.text


def test_a_notebook(tmp_path: Path) -> None:
    # IPython runs the cells as Jupyter does, in a loop that runs already.
    program = tmp_path / "cells.py"
    program.write_text(
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "for cell in json.load(open(sys.argv[1]))['cells']:\n"
        "    done = shell.run_cell(''.join(cell['source']))\n"
        "    done.raise_error()\n"
        "    print('=>', done.result)\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_MODEL": "openai/m"}
    with ScriptedServer(["A mathematician.", "Still."]) as server:
        done = subprocess.run(
            [sys.executable, program, FOLDER / "notebook.ipynb"], env={**environment, "CORRAL_API_BASE": server.url},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith("=>")] == [
        "=> None",
        "=> A mathematician.",
        "=> Still.",
    ], done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_fifteen_lines_at_most(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines()[1:] if line.strip()]
    assert len(lines) <= 15
