"""Inputs as variables of code: whole, however little of them the prompt shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from corral.agents import CodeAct, Journal, Model, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Policy, SecurityPolicy
from corral.sandbox import LinuxProvider, MontyProvider, SandboxProvider
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


def cell(code: str) -> Reply:
    return Reply(calls=[Call("python", {"code": code})])


def said(request: Any) -> str:
    """What the newest message of a request says."""
    part = request.messages[-1].parts[0]
    return part.text if hasattr(part, "text") else part.content[0].text


def code_act(replies: list[Reply], sandbox: SandboxProvider | None = None, **more: Any) -> tuple[CodeAct, Any]:
    lm, engine = scripted_lm(replies)
    signature = more.pop("signature", "task, rows: list[dict] -> answer")
    return CodeAct(signature, lm=lm, sandbox=sandbox or MontyProvider(), policy=EVERYTHING, **more), engine


async def test_an_input_that_is_no_text_is_a_variable_and_stands_in_the_prompt() -> None:
    agent, engine = code_act([cell("sum(row['n'] for row in rows)"), Reply("6")])
    result = await agent.run(task="Add.", rows=[{"n": 1}, {"n": 2}, {"n": 3}])
    assert result.outputs == {"answer": "6"}
    assert said(engine.requests[0]) == (
        'task:\nAdd.\n\nrows:\n[{"n": 1}, {"n": 2}, {"n": 3}]\n\nWhole, as variables in `python`: rows.'
    )
    assert said(engine.requests[1]) == "6"


async def test_a_long_text_is_cut_in_the_prompt_and_whole_in_code() -> None:
    agent, engine = code_act([cell("len(task)"), Reply("ok")], signature="task -> answer")
    await agent.run("x" * 3_000_000)
    assert 100_000 < len(said(engine.requests[0])) < 101_000
    assert "2900000 characters left out" in said(engine.requests[0])
    assert said(engine.requests[1]) == "3000000"


async def test_a_short_text_is_no_variable_and_costs_no_word() -> None:
    agent, engine = code_act([cell("task"), Reply("ok")], signature="task -> answer")
    await agent.run("Add.")
    assert said(engine.requests[0]) == "Add."
    assert "NameError" in said(engine.requests[1])


class Row(BaseModel):
    item: str
    count: float


class Stock(dspy.Signature):
    """Count."""

    rows: list[Row] = dspy.InputField()
    answer: str = dspy.OutputField()


async def test_models_and_odd_numbers_are_json_there() -> None:
    agent, engine = code_act([cell("[rows[0]['item'], rows[0]['count']]"), Reply("ok")], signature=Stock)
    await agent.run([Row(item="hay", count=float("inf"))])
    assert said(engine.requests[1]) == "['hay', inf]"


async def test_code_may_change_a_variable_and_finds_it_changed() -> None:
    agent, engine = code_act([cell("rows.append({})"), cell("len(rows)"), Reply("ok")])
    await agent.run(task="Add.", rows=[{}])
    assert said(engine.requests[2]) == "2"


@pytest.mark.parametrize("first", ["1 +", "while True: pass"])
async def test_a_first_cell_that_fails_does_not_lose_them(first: str, sandboxes: Callable[[], SandboxProvider]) -> None:
    async with sandboxes() as sandbox:
        agent, engine = code_act([cell(first), cell("len(rows)"), Reply("ok")], sandbox, cell_timeout=1)
        await agent.run(task="Add.", rows=[{}])
    assert said(engine.requests[2]) == "1"


async def test_a_name_that_means_something_else_in_code_is_left_alone() -> None:
    @tool(effect="read")
    def rows() -> str:
        """Rows."""
        return "a tool"

    agent, engine = code_act([cell("rows()"), Reply("ok")], tools=[rows])
    await agent.run(task="Add.", rows=[{}])
    assert said(engine.requests[1]) == "a tool"


async def test_without_code_nothing_is_cut_or_said() -> None:
    lm, engine = scripted_lm([Reply("ok")])
    await ReAct("task, rows: list[dict] -> answer", lm=lm).run(task="Add.", rows=[{}])
    assert said(engine.requests[0]) == "task:\nAdd.\n\nrows:\n[{}]"


async def test_a_resumed_run_has_them_again(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def dies(request: Any, number: int) -> Reply:
        if number == 1:
            raise Killed
        return cell("rows.append({})")

    with Journal(tmp_path / "journal.sqlite3") as journal:
        agent, _ = code_act([], journal=journal)
        agent.model, _ = _model(dies)
        with pytest.raises(Killed):
            await agent.run(task="Add.", rows=[{}])
    with Journal(tmp_path / "journal.sqlite3") as journal:
        agent, engine = code_act([cell("len(rows)"), Reply("ok")], journal=journal)
        await agent.resume(journal.runs()[0]["run_id"])
    assert said(engine.requests[1]) == "2"


def _model(script: Any) -> tuple[Any, Any]:
    lm, engine = scripted_lm(script)
    return Model(lm), engine


@pytest.fixture(params=[MontyProvider, LinuxProvider])
def sandboxes(request: pytest.FixtureRequest) -> Callable[[], SandboxProvider]:
    return request.param
