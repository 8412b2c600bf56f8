"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.policy import Action, Policy, Verdict

ROOT = Path(__file__).parents[2]


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def block(language: str) -> str:
    return blocks(language)[0]


def run(program: str, folder: Path, **environment: str) -> str:
    command, variables = [sys.executable, "-c", program], os.environ | environment
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


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


def test_the_program_of_the_sandbox_room_adds_up_in_whatever_sandbox_works_here(tmp_path: Path) -> None:
    (program,) = blocks("python", "sandbox/README.md")
    assert run(program, tmp_path) == "8\n"


def test_the_programs_of_the_tools_room_run(tmp_path: Path) -> None:
    functions, signed = blocks("python", "tools/README.md")
    (tmp_path / "servers.json").write_text('{"mcpServers": {}}')
    before, within, after = functions.partition("async with")  # as in a notebook
    main = f"import asyncio\nasync def main():\n{textwrap.indent(within + after, '    ')}asyncio.run(main())\n"
    assert run(before + main, tmp_path) == "['area'] {}\n"
    imports = "import httpx\nfrom corral.tools import *\n"
    assert run(f"{imports}{signed}print(farm.name)", tmp_path, CLIENT_SECRET="s") == "farm\n"
