"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.policy import Action, Policy, Verdict

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


CODE = """\
total = 3 * price("hay") + 2 * price("oats")
try:
    order("hay", 3)
except RuntimeError as error:
    print(error)
total
"""


def model(body: dict[str, Any], number: int) -> Reply:
    if number == 0:
        return Reply(calls=[Call("python", {"code": CODE})])
    told = str(body["messages"][-1]["content"])
    assert "denied: call tool:local/order" in told
    assert told.endswith("53.5")
    return Reply("The order was refused; this is what it would have cost.", calls=[Call("submit", {"total": 53.5})])


def test_the_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    program = block("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    with ScriptedServer(model) as server:
        program = program.replace("http://127.0.0.1:8000/v1", server.url)
        (tmp_path / "program.py").write_text(program)
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.stdout, done.stderr) == (block("text"), "")


def test_the_policy_says_what_the_readme_says(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(block("yaml"))
    policy = Policy.load(path)

    def verdict(tool: str, **arguments: Any) -> Verdict:
        return policy.judge(Action(f"tool:local/{tool}", "call", arguments=arguments)).verdict

    assert verdict("price", item="hay") is Verdict.ALLOW
    assert verdict("order", item="hay", count=3) is Verdict.ASK
    assert verdict("order", item="hay", count=11) is Verdict.DENY
    assert verdict("order", item="hay", count="many") is Verdict.DENY
    assert verdict("sell", item="hay") is Verdict.DENY
    assert policy.limits.tokens == 50_000
