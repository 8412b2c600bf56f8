"""Pictures and files that a person gives with a task, by a flag, an input or a mention."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import dspy
import pytest

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.apps.chat.mentions import with_files
from corral.policy import Gate, Policy, SecurityPolicy

from .conftest import Corral

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
SHOWN = {"type": "image_url", "image_url": {"url": URI}}
MODEL = ("--model", "openai/m", "--api-base")


def test_a_picture_goes_with_the_task_and_runs_show_tells_of_it_in_a_word(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    with ScriptedServer(["a dot"]) as server:
        done = corral("run", "What is it?", "-i", "dot.png", *MODEL, server.url)
    assert (done.returncode, done.stdout) == (0, "a dot\n"), done.stderr
    text, shown = server.bodies[0]["messages"][-1]["content"]
    assert (text["text"], shown) == ("What is it?\n[image image/png, 70 B]", SHOWN)
    listed = corral("runs", "list").stdout
    assert "What is it? [picture]" in listed
    run_id = json.loads(corral("runs", "list", "--json").stdout)["run_id"]
    assert "What is it? [picture]" in corral("runs", "show", run_id).stdout


def test_an_input_that_takes_a_picture_is_given_as_a_file(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "1", "photo": "dot.png", "task": "Who?"}) + "\n")
    where = ("--signature", "task, photo: dspy.Image -> answer", *MODEL)
    with ScriptedServer(["a dot"]) as server:
        done = corral("run", "What is it?", "--input", "photo=dot.png", *where, server.url)
        batch = corral("batch", "tasks.jsonl", *where, server.url)
    assert (done.returncode, batch.returncode) == (0, 0), done.stderr + batch.stderr
    assert [body["messages"][-1]["content"][-1] for body in server.bodies] == [SHOWN, SHOWN]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.png", None, "gone.png: No such file or directory"),
        ("page.png", b"<html>", "page.png is no PNG, JPEG, GIF or WebP"),
        ("notes.txt", b"notes", "notes.txt is no PNG, JPEG, GIF or WebP"),
    ],
)
def test_what_is_no_picture_is_said(
    corral: Corral, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = corral("run", "What is it?", "-i", name, *MODEL, "http://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_mentioned_picture_stands_beside_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "page.png").write_bytes(b"<html>")
    (tmp_path / "denied.png").write_bytes(PNG)
    rules = [
        SecurityPolicy(resource="file:*", actions=["read"]),
        SecurityPolicy(resource="file:denied.png", actions=["read"], effect="deny"),
    ]
    warned: list[str] = []
    task = await with_files("see @dot.png @page.png @denied.png", Gate(Policy(rules=rules)), warned.append)
    assert task == ["see @dot.png @page.png @denied.png", dspy.Image(URI)]
    assert len(warned) == 2
    assert "page.png is no PNG" in warned[0]
    assert "@denied.png was not read" in warned[1]


def test_a_file_goes_in_and_another_one_comes_out(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("hay,3\noats,x\n")
    code = "open('clean.csv', 'w').write(open('sales.csv').readline())\nSUBMIT(cleaned='clean.csv')"
    with ScriptedServer([Reply(calls=[Call("python", {"code": code})])]) as server:
        done = corral(
            "run", "Clean it.", "--kind", "codeact", "--sandbox", "linux", "-o", "out.csv",
            "--input", "table=sales.csv",
            "--signature", "task, table: dspy.File -> cleaned: dspy.File", *MODEL, server.url,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[file clean.csv]\n"), done.stderr
    assert (tmp_path / "out.csv").read_text() == "hay,3\n"
