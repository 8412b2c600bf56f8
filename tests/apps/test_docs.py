"""What docs/scripts.md shows is what happens."""

import json
import re
from pathlib import Path

from corral.agents.testing import ScriptedServer

from .conftest import Corral

TEXT = (Path(__file__).parents[2] / "docs" / "scripts.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_task_file_of_the_docs(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(block("yaml"))
    with ScriptedServer(["Hay.", "ordered 5"]) as server:
        where = ("--model", "openai/m", "--api-base", server.url)
        done = corral("run", "-f", "task.yaml", "--input", "animal=goat", "--input", "count=5", *where)
    assert (done.returncode, done.stdout) == (0, "ordered 5\n"), done.stderr
    assert server.bodies[1]["messages"][-1]["content"] == "Order Hay. for 5."


def test_the_function_of_the_docs(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(block("python"))
    with ScriptedServer(["hay", "leaves"]) as server:
        where = ("--model", "openai/m", "--api-base", server.url)
        done = corral("run", "-f", "feed.py", "--input", 'animals=["horse", "goat"]', *where)
    assert json.loads(done.stdout) == {"horse": "hay", "goat": "leaves"}


def test_the_settings_of_the_docs(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "corral.toml").write_text(block("toml"))
    shown = corral("config", "show").stdout
    for line in ("model = openai/gpt-4o-mini", "policy = policy.yaml", "mcp_config = mcp.json", "max_steps = 20"):
        assert f"{line}  (corral.toml)" in shown
