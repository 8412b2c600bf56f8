"""The prompt stays within the model's window, and what is cut can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Message

from corral.agents import (
    Actions,
    Agent,
    CodeAct,
    DefinitionError,
    Journal,
    Model,
    ModelSpec,
    ReAct,
    Session,
    StopReason,
)
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.policy import Compacted, Limits
from corral.sandbox import MontyProvider
from corral.tools import Artifacts, Toolbox, tool

from .conftest import Recorder

WINDOW = 4000


@tool(effect="read")
def page(number: int) -> str:
    """A long page."""
    return f"Page {number} begins. " + "Nothing of note happens on it. " * 40 + f"Page {number} ends."


def tokens(body: dict[str, Any]) -> int:
    """As a tokenizer with four characters a token would count."""
    return len(str(body["messages"])) // 4 + len(str(body.get("tools"))) // 4


class Strict:
    """A server that refuses what is longer than its window, and counts as servers do."""

    def __init__(self, window: int, turns: int, says: bool = True) -> None:
        self.window = window
        self.turns = turns
        self.refused = 0
        self.says = says
        self.asked = 0

    def __call__(self, body: dict[str, Any], number: int) -> Reply:
        length = tokens(body)
        if length > self.window:
            self.refused += 1
            return Reply(fault=Fault.overflow(self.window, "vllm-flat" if self.says else "ollama"))
        self.asked += 1
        reply = (
            Reply(f"Reading {self.asked}.", calls=[Call("page", {"number": self.asked})])
            if self.asked < self.turns
            else Reply("Read.")
        )
        return Reply(reply.text, reply.calls, input_tokens=length, output_tokens=20)


async def test_a_long_run_is_compacted_and_the_server_never_has_to_refuse(recorder: Recorder) -> None:
    strict = Strict(WINDOW, turns=40)
    with ScriptedServer(strict) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, context_window=WINDOW, max_tokens=500)
        agent = ReAct("question -> answer", [page], lm=spec, limits=Limits(steps=60), sinks=[recorder])
        result = await agent.run("Read the book about the horse.")
    assert result.ok
    assert result.steps == 40
    assert strict.refused == 0
    assert result.compactions == len(recorder.of(Compacted)) >= 2
    for event in recorder.of(Compacted):
        assert event.tokens_after < event.tokens_before
    last = server.bodies[-1]["messages"]
    assert last[1]["content"] == "Read the book about the horse."
    assert "earlier messages" in str(last)
    calls = {call["id"] for m in last for call in m.get("tool_calls", ())}
    assert calls == {m["tool_call_id"] for m in last if m["role"] == "tool"}
    # Between compactions the prompt only grows, so that a server's cache of its prefix hits.
    for earlier, later in zip(server.bodies, server.bodies[1:], strict=False):
        grown = later["messages"][: len(earlier["messages"])] == earlier["messages"]
        assert grown or len(later["messages"]) < len(earlier["messages"])


@pytest.mark.parametrize("says", [True, False])
async def test_a_window_that_nobody_told_is_learnt_from_the_server(says: bool) -> None:
    strict = Strict(WINDOW, turns=20, says=says)
    with ScriptedServer(strict) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url)
        agent = ReAct("question -> answer", [page], lm=spec, limits=Limits(steps=60))
        result = await agent.run("Read the book.")
    assert result.ok
    assert result.steps == 20
    assert strict.refused == 1 if says else strict.refused < 6


async def test_a_task_that_is_longer_than_the_window_ends_the_run_with_that_reason() -> None:
    with ScriptedServer(["hi"]) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, context_window=500)
        result = await ReAct("question -> answer", lm=spec).run("word " * 5000)
    assert result.reason is StopReason.CONTEXT
    assert "context window" in result.detail
    assert server.bodies == []


async def test_a_session_whose_turns_fill_the_window_goes_on() -> None:
    with ScriptedServer(lambda body, number: Reply(f"Answer {number}. " + "Words. " * 200)) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, context_window=WINDOW, max_tokens=600)
        session = Session(ReAct("question -> answer", lm=spec))
        for number in range(30):
            assert (await session.run(f"Question {number}?")).ok
    assert max(tokens(body) for body in server.bodies) < WINDOW
    assert server.bodies[-1]["messages"][-1]["content"] == "Question 29?"


async def test_the_window_of_a_known_model_is_in_dspys_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert Model("openai/gpt-4o-mini").context_window() == 128_000
    assert Model(ModelSpec(model="openai/gpt-4o-mini", api_base="http://127.0.0.1:9/v1")).context_window() is None


async def test_what_is_cut_is_kept_and_can_be_read_in_parts(tmp_path: Path) -> None:
    @tool(effect="read")
    def long() -> str:
        """Much."""
        return "A" * 5000 + "needle" + "Z" * 5000

    def script(request: Any, number: int) -> Reply:
        if number == 0:
            return Reply(calls=[Call("long")])
        if number == 1:
            name = text_of(request.messages[-1]).split("artifact='")[1].split("'")[0]
            return Reply(calls=[Call("read_result", {"artifact": name, "offset": 4990, "length": 30})])
        return Reply("found")

    lm, engine = scripted_lm(script)
    agent = ReAct("question -> answer", [long], lm=lm, artifacts=Artifacts(tmp_path / "kept", max_chars=600))
    result = await ReAct.run(agent, "?")
    assert result.ok
    assert "needle" not in text_of(engine.requests[1].messages[-1])
    assert "needle" in text_of(engine.requests[2].messages[-1])
    assert engine.requests[0].tools == engine.requests[2].tools


async def test_the_output_of_a_cell_is_kept_too(tmp_path: Path) -> None:
    code = "print('x' * 3000 + 'needle' + 'y' * 3000)"
    lm, engine = scripted_lm([Reply(calls=[Call("python", {"code": code})]), "ok"])
    kept = Artifacts(tmp_path / "kept", max_chars=1000)
    await CodeAct("question -> answer", lm=lm, sandbox=MontyProvider(), artifacts=kept).run("?")
    assert "read_result" in text_of(engine.requests[1].messages[-1])
    (file,) = (tmp_path / "kept").glob("*.txt")
    assert "needle" in file.read_text()


@pytest.mark.parametrize("by_code", [False, True])
async def test_a_resumed_run_reads_on_in_what_was_kept_before(tmp_path: Path, by_code: bool) -> None:
    """In objects of a later process: its artifacts know the folder and nothing else."""

    @tool(effect="read")
    def long() -> str:
        """Much."""
        return "A" * 5000 + "needle" + "Z" * 5000

    def script(request: Any, number: int) -> Reply:
        turn = sum(message.role == "assistant" for message in request.messages)
        if turn == 0:
            return Reply(calls=[Call("python", {"code": "print(long())"}) if by_code else Call("long")])
        name = text_of(request.messages[2]).split("artifact='")[1].split("'")[0]
        names.append(name)
        if turn == 1:
            return Reply(calls=[Call("read_result", {"artifact": name, "offset": 4990, "length": 30})])
        return Reply("found")

    names: list[str] = []

    def agent(journal: Journal) -> tuple[Agent, Any]:
        lm, engine = scripted_lm(script)
        kept = Artifacts(tmp_path / "kept", max_chars=600)
        both = Actions.TOOLS | Actions.CODE
        made = Agent(
            "question -> answer", [long], lm=lm, artifacts=kept, actions=both, sandbox=MontyProvider(), journal=journal
        )
        return made, engine

    with Journal(tmp_path / "runs.sqlite3") as journal:
        first = await agent(journal)[0].run("?")
        journal.rewind(first.run_id, 1)
    with Journal(tmp_path / "runs.sqlite3") as journal:
        later, engine = agent(journal)
        result = await later.resume(first.run_id)
    assert result.ok
    assert len(set(names)) == 1
    assert len(engine.requests) == 2
    assert "needle" in text_of(engine.requests[-1].messages[-1])


def test_a_ready_toolbox_takes_its_own_artifacts(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="toolbox"):
        ReAct("question -> answer", Toolbox(), artifacts=Artifacts(tmp_path))


def text_of(message: Message) -> str:
    return "".join(piece.text for part in message.parts for piece in part.content)  # type: ignore[union-attr]
