"""Parts of the chat that need no terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from corral.apps.chat.approvals import TerminalApprover
from corral.apps.chat.blocks import Blocks
from corral.apps.chat.commands import Command, nearest
from corral.apps.chat.completion import ChatCompleter
from corral.apps.chat.diffs import Edit
from corral.apps.chat.folds import Folds
from corral.apps.chat.mentions import TypedConsent, with_files
from corral.apps.chat.modes import ChatMode
from corral.apps.chat.paper import Paper
from corral.apps.chat.screen import Screen
from corral.apps.chat.shell import run_command, why_not
from corral.apps.chat.status import status_line
from corral.apps.terminal import Progress, printable
from corral.policy import (
    Action,
    Approval,
    ApprovalRequest,
    CellFinished,
    CellOutput,
    CellStarted,
    Denied,
    Gate,
    GrantScope,
    Intervened,
    Judgement,
    Label,
    MemoryAudit,
    Mode,
    Policy,
    RunFinished,
    RunStarted,
    SecurityPolicy,
    TextDelta,
    ToolCalled,
    ToolReturned,
    Usage,
    Verdict,
)


class Sheet:
    """A screen whose output is kept, and whose questions are answered from a list."""

    def __init__(self, *answers: str, width: int = 80) -> None:
        self.paper = Paper({"TERM": "xterm-256color"})
        self.paper.out = self._take
        self.screen = Screen(self.paper, environ={})
        self.screen.keyboard = self  # pyright: ignore[reportAttributeAccessIssue]
        self.printed = ""
        self.questions: list[str] = []
        self._answers = list(answers)

    def _take(self, text: str) -> None:
        self.printed += text

    def refresh(self) -> None: ...

    async def answer(self, prompt: str) -> str:
        self.questions.append(prompt)
        await anyio.lowlevel.checkpoint()
        return self._answers.pop(0)


def request(grants: GrantScope = GrantScope.PERSISTENT, **changes: Any) -> ApprovalRequest:
    action = Action("tool:disk/write_file", "call", **{"arguments": {"path": "a.txt", "content": "new"}, **changes})
    return ApprovalRequest(action, Judgement(Verdict.ASK, "writes ask", "writes", grants), action.digest())


def test_control_characters_and_unseen_ones_are_written_out() -> None:
    hostile = "a\x1b[2J\x9b31m\x07\r\u202eb\u2066\u200b\ufeff\U000e0041\ud800\x7f\n\tc"
    shown = printable(hostile)
    assert shown == "a\\x1b[2J\\x9b31m\\x07\\x0d\\u202eb\\u2066\\u200b\\ufeff\\U000e0041\\ud800\\x7f\n\tc"
    assert printable("one\r\ntwo") == "one\ntwo"
    assert printable("Zürich 山 😀 👩‍🚀 עברית") == "Zürich 山 😀 👩‍🚀 עברית"


@pytest.mark.parametrize(
    "text", ["[x](http://a\x1b]8;;evil\x07)", "`\x1b[2J`", "```\x1b[31m\n\x1b]0;t\x07\n```", "# \x9b31m"]
)
def test_markdown_of_a_model_brings_no_sequence_of_its_own(text: str) -> None:
    paper = Paper({"TERM": "xterm-256color"})
    shown = paper.render(paper.markdown(text), width=60)
    assert "\x1b]" not in shown
    assert "\x9b" not in shown
    assert "\x1b[2J" not in shown
    assert "\\x" in shown or "%5Cx" in shown


def test_an_answer_is_cut_between_its_blocks_and_never_inside_of_one() -> None:
    text = "# One\n\nTwo\nthree.\n\n1. a\n\n2. b\n\n   more\n\nAfter.\n\n```py\nx\n\ny\n```\n\nEnd"
    for size in (1, 3, 7, 200):
        blocks, found = Blocks(), list[str]()
        for start in range(0, len(text), size):
            found += blocks.feed(text[start : start + size])
        found.append(blocks.flush())
        assert [block.strip() for block in found] == [
            "# One", "Two\nthree.", "1. a\n\n2. b\n\n   more", "After.", "```py\nx\n\ny\n```", "End",
        ]  # fmt: skip


def test_the_end_of_a_long_block_stays_inside_of_its_fence() -> None:
    blocks = Blocks()
    blocks.feed("```py\n" + "x\n" * 100)
    assert blocks.end(3) == "```py\nx\nx\n"
    assert blocks.end(200) == blocks.growing


def test_edits_are_shown_as_differences_and_nothing_else_is_hidden() -> None:
    edit = Edit.of({"path": "a.py", "edits": [{"oldText": "one\ntwo", "newText": "one\n2"}], "dryRun": False})
    assert edit is not None
    assert edit.difference.splitlines()[-3:] == [" one", "-two", "+2"]
    assert edit.others == {"dryRun": False}
    both = Edit.of({"path": "a", "old_str": "x", "new_str": "y", "edits": [{"oldText": "1", "newText": "2"}]})
    assert both is not None
    assert set(both.others) == {"edits"}
    odd = Edit.of({"path": "a", "edits": [{"oldText": "x", "newText": "y", "also": "z"}], "content": "whole"})
    assert odd is not None
    assert set(odd.others) == {"edits"}
    assert Edit.of({"url": "http://a", "content": "x"}) is None


def test_calls_are_folded_to_a_line_and_opened_whole() -> None:
    sheet, long = Sheet(), "x" * 500
    sheet.screen.emit(ToolCalled(run_id="r", call_id="1", tool="disk_read", arguments={"path": "\x1b[2Ja.txt"}))
    assert [fold.number for fold in sheet.screen.folds.running] == [1]
    sheet.screen.emit(
        ToolReturned(run_id="r", call_id="1", tool="disk_read", content=f"first\n{long}", outcome="ok", seconds=0.1,
                     label=Label.untrusted("tool:disk/read"))
    )  # fmt: skip
    (line,) = sheet.printed.splitlines()
    assert len(line.encode("ascii", "ignore")) < 200
    assert long not in sheet.printed
    assert "\x1b[2J" not in sheet.printed
    sheet.screen.open(1)
    assert sheet.printed.replace("\n", "").count("x" * 70) >= 6
    assert "untrusted" in sheet.printed


def test_a_cell_is_one_line_with_its_calls_inside() -> None:
    folds, paper = Folds(), Paper({"TERM": "dumb"})
    folds.hear(CellStarted(run_id="r", cell="cell/1", code="print(look())", sandbox="docker abc.1"))
    folds.hear(ToolCalled(run_id="r", call_id="1", tool="look", arguments={}, cell="cell/1"))
    inner = ToolReturned(run_id="r", call_id="1", tool="look", content="seen", outcome="ok", seconds=0.1,
                         label=Label.user(), cell="cell/1")  # fmt: skip
    assert folds.hear(inner) is None
    folds.hear(CellOutput(run_id="r", cell="cell/1", text="seen"))
    fold = folds.hear(CellFinished(run_id="r", cell="cell/1", sandbox="docker abc.1", seconds=0.2))
    assert fold is not None
    assert str(fold.line(60)).startswith("● 1 python print(look()) → 1 call, seen")
    opened = paper.render(fold.opened(paper), width=60)
    assert "in docker" in opened
    assert "look()" in opened


def test_an_answer_that_was_handed_over_is_shown_and_one_that_was_said_is_not_said_twice() -> None:
    def finished(answer: str) -> RunFinished:
        return RunFinished(reason="done", outputs={"answer": answer}, usage=Usage(), steps=1, tool_calls=0, seconds=0.1)

    sheet = Sheet()
    sheet.screen.emit(TextDelta(step=1, text="It is **noon**."))
    sheet.screen.emit(finished("It is **noon**."))
    assert sheet.printed.count("noon") == 1
    sheet.screen.emit(finished("It is midnight."))
    assert sheet.printed.count("midnight") == 1
    assert sheet.screen.answer == "It is midnight."


def test_who_intervenes_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = Intervened(run_id="top", by="plugin:calm", point="before_tool", outcome="veto", reason="not today")
    sheet = Sheet()
    sheet.screen.emit(RunStarted(run_id="top", agent="main", model="m", kind="Agent"))
    sheet.screen.emit(said)
    assert "plugin:calm, before_tool: veto not today" in sheet.printed
    Progress().emit(said)
    assert "plugin:calm, before_tool: veto not today" in capsys.readouterr().err


def test_runs_below_a_turn_do_not_end_it() -> None:
    def finished(run: str) -> RunFinished:
        return RunFinished(run_id=run, reason="done", outputs={"answer": run}, usage=Usage(), steps=1, tool_calls=0,
                           seconds=0.1)  # fmt: skip

    sheet = Sheet()
    sheet.screen.emit(RunStarted(run_id="top", agent="main", model="m", kind="Agent"))
    sheet.screen.emit(ToolCalled(run_id="top", call_id="1", tool="helper", arguments={}))
    sheet.screen.emit(RunStarted(run_id="below", agent="helper", model="m", kind="Agent", parent_run_id="top"))
    sheet.screen.emit(finished("below"))
    assert [fold.name for fold in sheet.screen.folds.running] == ["helper"]
    sheet.screen.emit(finished("top"))
    assert sheet.screen.folds.running == []
    assert sheet.screen.answer == "top"


async def test_what_would_happen_is_shown_with_where_it_comes_from() -> None:
    sheet = Sheet("n too \x1b[31mlate")
    labels = {"content": Label.untrusted("tool:web/fetch"), "path": Label.user()}
    approval = await TerminalApprover(sheet.screen).decide(request(labels=labels))
    assert (approval.granted, approval.reason) == (False, "too \x1b[31mlate")
    for said in ("call tool:disk/write_file", "+++ a.txt", "+new", "content: untrusted, from tool:web/fetch",
                 "writes ask (rule writes)"):  # fmt: skip
        assert said in sheet.printed
    assert "\x1b[31mlate" not in sheet.printed


@pytest.mark.parametrize(
    ("longest", "answers", "scope", "any_arguments"),
    [
        (GrantScope.PERSISTENT, ["s"], GrantScope.SESSION, True),
        (GrantScope.PERSISTENT, ["a", "e"], GrantScope.PERSISTENT, False),
        (GrantScope.PERSISTENT, ["always", "t"], GrantScope.PERSISTENT, True),
        (GrantScope.PERSISTENT, ["a", "n", "y"], GrantScope.ONCE, False),
        (GrantScope.RESOURCE, ["a", "e", "t"], GrantScope.RESOURCE, True),
        (GrantScope.SESSION, ["a", "s"], GrantScope.SESSION, True),
        (GrantScope.ONCE, ["s", "a", "", "yes and no", "y"], GrantScope.ONCE, False),
    ],
)
async def test_an_answer_is_kept_no_longer_than_was_said_and_the_rule_permits(
    longest: GrantScope, answers: list[str], scope: GrantScope, any_arguments: bool
) -> None:
    sheet = Sheet(*answers)
    approval = await TerminalApprover(sheet.screen, grants_file="grants.json").decide(request(longest))
    assert (approval.granted, approval.scope, approval.any_arguments) == (True, scope, any_arguments)
    assert len(sheet.questions) == len(answers)
    assert ("[a]lways" in sheet.questions[0]) == (longest >= GrantScope.RESOURCE)


async def test_a_long_argument_is_never_agreed_to_unseen_without_a_word() -> None:
    sheet = Sheet("v", "y")
    lines = "\n".join(f"line {number}" for number in range(500))
    await TerminalApprover(sheet.screen).decide(request(arguments={"code": lines}))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", sheet.printed)
    shown, _, whole = plain.partition("lines are not shown; answer v to view all")
    assert "line 250" not in shown
    assert "line 250" in whole


async def test_the_mode_all_agrees_and_one_yes_answers_those_that_wait_for_the_same() -> None:
    sheet = Sheet("s")
    approver = TerminalApprover(sheet.screen)
    same = [request(arguments={"path": str(number), "content": ""}) for number in range(3)]
    approvals: list[Approval] = []

    async def decide(one: ApprovalRequest) -> None:
        approvals.append(await approver.decide(one))

    async with anyio.create_task_group() as group:
        for one in same:
            group.start_soon(decide, one)
    assert [approval.granted for approval in approvals] == [True] * 3
    assert len(sheet.questions) == 1
    approver.mode = ChatMode.ALL
    assert (await approver.decide(request())).granted
    assert len(sheet.questions) == 1


class Never:
    """Somebody who is asked, and says no."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked.append(request.action.resource)
        return Approval(request.digest, False, "user:test", "no")


async def test_mentioned_files_stand_below_marked_and_only_what_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (inside / "a b.txt").write_text("one --- end of file")
    (inside / "big.txt").write_text("x" * 200_000)
    (inside / "blob.bin").write_bytes(b"\0\1\2")
    (inside / "denied.txt").write_text("denied")
    (inside / ".env").write_text("hidden")
    (tmp_path / "outside.txt").write_text("outside")
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    os.mkfifo(inside / "pipe")
    rules = [SecurityPolicy(resource="file:denied.txt", actions=["read"], effect="deny", id="no")]
    never, audit, warned = Never(), MemoryAudit(), list[str]()
    gate = Gate(Policy(rules=rules, default="ask"), approver=TypedConsent(never), audit=audit)
    text = '@"a b.txt" @big.txt @blob.bin @denied.txt @.env @link.txt @pipe @none.txt mail me@big.txt @ann'
    task = await with_files(text, gate, warned.append)
    assert isinstance(task, str)
    assert task.startswith(text)
    assert task.count("one --- end of file") == 1
    assert task.count("x" * 100_000) == 1
    assert "x" * 100_001 not in task
    assert "its first 100000 bytes of 200000" in task
    for unseen in ("hidden", "outside", "denied\n"):
        assert unseen not in task.removeprefix(text)
    assert never.asked == ["file:.env", f"file:{os.path.realpath(tmp_path)}/outside.txt"]  # noqa: ASYNC240
    assert [line.partition(" ")[0].rstrip(":") for line in warned] == [
        "@blob.bin", "@denied.txt", "@.env", "@link.txt", "@none.txt",
    ]  # fmt: skip
    mark = task.partition("[")[2].partition("]")[0]
    assert task.count(mark) == 2
    assert any(record.resource == "file:denied.txt" and record.entry == "refusal" for record in audit.records)


async def test_a_command_of_the_shell_is_killed_with_what_it_started(tmp_path: Path) -> None:
    gate = Gate(Policy(rules=[SecurityPolicy(resource="tool:local/shell", actions=["call"])]))
    output, status = await run_command("printf 'a\\033'; exit 3", gate)
    assert (output, status) == ("a\x1b", 3)
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    with anyio.move_on_after(0.5):
        await run_command(f"sleep 100 3>{alive} & sleep 100 & cat {alive}", gate)
    # Nobody holds the other end any more, so that opening it for writing finds no reader.
    with pytest.raises(OSError, match="No such device"):
        os.open(alive, os.O_WRONLY | os.O_NONBLOCK)


def test_the_status_line_keeps_what_matters_where_it_is_narrow() -> None:
    parts = [(1, "model"), (3, "100 tokens"), (2, "docker"), (0, "mode ask")]
    assert status_line(parts, 80) == "model · 100 tokens · docker · mode ask"
    assert status_line(parts, 28) == "model · docker · mode ask"
    assert status_line(parts, 8) == "mode ask"


def test_commands_and_paths_are_completed_and_unknown_commands_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)

    async def nothing(_: str) -> None: ...

    commands = {
        name: Command(name, "", "help", nothing, lambda: ["one", "two"]) for name in ("/tools", "/theme", "/exit")
    }
    completer = ChatCompleter(lambda: commands)

    def offered(text: str) -> list[str]:
        return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]

    assert offered("/t") == ["/tools", "/theme"]
    assert offered("/theme t") == ["two"]
    assert offered("see @no") == ["tes.txt"]
    assert offered("see no") == []
    assert nearest("/tool", commands) == ["/tools"]
    assert nearest("/exot", commands) == ["/exit"]
    assert nearest("/zzz", commands) == []


async def test_a_command_that_no_rule_allows_says_so_and_not_that_nobody_is_there() -> None:
    with pytest.raises(Denied) as caught:
        await run_command("ls", Gate(Policy.safe(), mode=Mode.UNATTENDED))
    assert "unattended" in str(caught.value)
    said = why_not(caught.value)
    assert "unattended" not in said
    assert said.startswith("denied: call tool:local/shell: ")
    assert said.endswith("a rule must allow tool:local/shell")
