"""Files among a task's inputs and outputs, where code works on them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import dspy
import pytest

from corral.agents import Actions, CodeAct, Journal, Model, StopReason
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Policy, SecurityPolicy
from corral.sandbox import LinuxProvider, MontyProvider, SandboxProvider

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
SALES = dspy.File.from_bytes(b"item,count\nhay,3\noats,x\n", filename="../sales.csv", mime_type="text/csv")
CLEAN = """
rows = [line for line in open('sales.csv') if not line.rstrip().endswith('x')]
open('clean.csv', 'w').writelines(rows)
"""


class Clean(dspy.Signature):
    """Clean the table."""

    table: dspy.File = dspy.InputField()
    cleaned: dspy.File = dspy.OutputField(desc="without odd rows")
    rows: int = dspy.OutputField()


def cell(code: str) -> Reply:
    return Reply(calls=[Call("python", {"code": code})])


def agent(replies: Any, sandbox: SandboxProvider | None = None, **more: Any) -> tuple[CodeAct, Any]:
    lm, engine = scripted_lm(replies)
    return CodeAct(Clean, lm=lm, sandbox=sandbox or LinuxProvider(), policy=EVERYTHING, **more), engine


def content(file: dspy.File) -> bytes:
    assert file.file_data is not None
    return base64.b64decode(file.file_data.partition(",")[2])


async def test_a_table_goes_in_and_a_cleaned_one_comes_out() -> None:
    made, engine = agent([cell(CLEAN + "SUBMIT(cleaned='clean.csv', rows=len(rows) - 1)")])
    result = await made.run(table=SALES)
    assert result.outputs is not None, result.detail
    assert content(result.outputs["cleaned"]) == b"item,count\nhay,3\n"
    assert (result.outputs["cleaned"].filename, result.outputs["rows"]) == ("clean.csv", 1)
    (task,) = engine.requests[0].messages[0].parts
    assert task.text == "table:\n[file text/csv, 24 B]\n\nFiles in its working folder: sales.csv."


async def test_the_model_may_submit_by_a_call_of_its_own() -> None:
    made, engine = agent([cell(CLEAN), Reply(calls=[Call("submit", {"cleaned": "clean.csv", "rows": 1})])])
    result = await made.run(table=SALES)
    assert result.outputs is not None, result.detail
    assert content(result.outputs["cleaned"]) == b"item,count\nhay,3\n"
    (submit,) = (tool for tool in engine.requests[0].tools if tool.name == "submit")
    assert submit.parameters["properties"]["cleaned"] == {
        "type": "string",
        "description": "without odd rows (the name of a file in the working folder)",
    }
    assert "$defs" not in submit.parameters


@pytest.mark.parametrize("path", ["gone.csv", "../../etc/passwd", "/etc/passwd", "link"])
async def test_what_is_no_file_of_the_folder_is_told_to_the_model(path: str) -> None:
    code = f"import os\nos.symlink('/etc/passwd', 'link')\nSUBMIT(cleaned={path!r}, rows=1)"
    made, engine = agent([cell(code), Reply(calls=[Call("submit", {"cleaned": path, "rows": 1})])])
    result = await made.run(table=SALES)
    assert (result.outputs, result.reason) == (None, StopReason.INVALID)
    told = engine.requests[1].messages[-1].parts[0].content[0].text
    assert "SUBMIT: cleaned:" in told
    assert "root:" not in told


async def test_where_there_are_no_files_the_run_says_so() -> None:
    made, _ = agent([cell("1")], MontyProvider())
    result = await made.run(table=SALES)
    assert result.reason is StopReason.ERROR
    assert "sales.csv" in result.detail


async def test_a_resumed_run_finds_the_files_and_what_was_made_of_them(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def dies(request: Any, number: int) -> Reply:
        if number == 1:
            raise Killed
        return cell(CLEAN)

    with Journal(tmp_path / "journal.sqlite3") as journal:
        made, _ = agent([], journal=journal)
        made.model = Model(scripted_lm(dies)[0])
        with pytest.raises(Killed):
            await made.run(table=SALES)
    with Journal(tmp_path / "journal.sqlite3") as journal:
        made, _ = agent([Reply(calls=[Call("submit", {"cleaned": "clean.csv", "rows": 1})])], journal=journal)
        result = await made.resume(journal.runs()[0]["run_id"])
        assert result.outputs is not None, result.detail
        assert content(result.outputs["cleaned"]) == b"item,count\nhay,3\n"
        *_, finished = (event for event in journal.events(result.run_id) if event["type"] == "RunFinished")
    assert dspy.File(**finished["outputs"]["cleaned"]) == result.outputs["cleaned"]


async def test_tools_and_code_at_once_take_files_too() -> None:
    made, _ = agent(
        [Reply(calls=[Call("submit", {"cleaned": "sales.csv", "rows": 2})])], actions=Actions.TOOLS | Actions.CODE
    )
    result = await made.run(table=SALES)
    assert result.outputs is not None, result.detail
    assert content(result.outputs["cleaned"]) == content(SALES)
