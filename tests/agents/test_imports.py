"""What importing agents costs: DSPy, and no module of ours that a run can do without."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from corral.agents import Journal, ReAct
from corral.agents.testing import Reply, scripted_lm

FOREIGN = (
    "authlib docker h11 httpx httpx2 joserfc keyring litellm mcp mcp_types mem0 numpy openai opentelemetry optuna "
    "pydantic_monty pydantic_settings rich starlette tenacity"
)
OURS = (
    "agents.agentfile agents.rlm agents.skills.served agents.teams memory.memory memory.facts "
    "policy.cases policy.cedar policy.learn policy.lint sandbox.attacks sandbox.auto sandbox.docker sandbox.linux "
    "sandbox.monty sandbox.session tools.a2a tools.http tools.logins tools.mcp tools.oauth tools.openapi tools.serve "
    "tools.stdio"
)
IMPORTS = "from corral.agents import ModelSpec, ReAct, Result\nfrom corral.policy import Limits\n"
RUN = """
from corral.agents.testing import Call, Reply, scripted_lm
from corral.tools import tool

@tool(effect="read")
def step(n: int) -> int:
    "Go a step."
    return n + 1

lm, _ = scripted_lm([Reply(calls=[Call("step", {"n": 1})]), Reply("done")])
assert ReAct("question -> answer", [step], lm=lm).run_sync(question="?").ok
"""


def test_importing_a_room_imports_no_module_of_it() -> None:
    found = loaded("import corral.agents, corral.memory, corral.sandbox, corral.policy")
    rooms = {"corral", "corral.agents", "corral.memory", "corral.sandbox", "corral.policy", "corral.policy.lazy"}
    assert {name for name in found if name.partition(".")[0] in ("corral", "dspy")} == rooms


@pytest.mark.parametrize("code", [IMPORTS, IMPORTS + RUN], ids=["import", "run"])
def test_what_a_plain_agent_can_do_without_is_not_imported(code: str) -> None:
    found = loaded(code)
    ours = [f"corral.{name}" for name in OURS.split()]
    assert [name for name in ours if find_spec(name) is None] == []
    assert "corral.agents.agent" in found
    assert sorted(found & {*FOREIGN.split(), *ours}) == []


def test_a_journal_is_looked_at_without_dspy(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    asyncio.run(ReAct("question -> answer", lm=scripted_lm([Reply("yes")])[0], journal=Journal(path)).run(question="?"))
    looking = f"print([run['reason'] for run in Journal({str(path)!r}).runs()])"
    found = loaded(f"from corral.agents import Journal\n{looking}")
    assert "['done']" in found
    assert "dspy" not in found


def loaded(code: str) -> set[str]:
    """What `code` prints, and the modules that a fresh interpreter has after it."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
