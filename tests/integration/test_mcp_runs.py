"""Agents whose tools are MCP servers: what these say in the middle of a call, and what happens when they die."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from corral.agents import ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import (
    Approval,
    ApprovalAsked,
    ApprovalGiven,
    ApprovalRequest,
    Event,
    MemoryAudit,
    Policy,
    Rate,
    SecurityPolicy,
    ServerLogged,
    ToolProgressed,
    ToolReturned,
)
from corral.tools import HttpServer, MCPServer, StdioServer

from ..tools.processes import Process, free_port

SERVERS = Path(__file__).parents[1] / "tools" / "servers"
ALLOW = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Person:
    """Fills in what is asked; agrees to all."""

    def __init__(self, content: dict[str, Any] | None = None, *, granted: bool = True) -> None:
        self.content = content
        self.granted = granted
        self.asked: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked.append(request)
        return Approval(request.digest, self.granted, "user:ada", content=self.content)


def lively(**options: Any) -> MCPServer:
    return MCPServer("lively", StdioServer(sys.executable, (str(SERVERS / "lively.py"),), **options))


async def brand(person: Person | None, recorder: Recorder, policy: Policy = ALLOW) -> tuple[str, MemoryAudit]:
    """What the model is told of a call in which the server asks for a name."""
    lm, _ = scripted_lm([Reply(calls=[Call("lively_brand", {"cow": "Bella"})]), "done"])
    audit = MemoryAudit()
    agent = ReAct("task -> answer", [lively()], lm=lm, policy=policy, approver=person, sinks=[recorder], audit=audit)
    assert (await agent.run("Whose is she?")).ok
    (returned,) = recorder.of(ToolReturned)
    return returned.content, audit


async def test_a_servers_question_is_an_approval_and_its_answer_stays_out_of_events_and_audit() -> None:
    recorder, person = Recorder(), Person({"name": "Ada-canary"})
    told, audit = await brand(person, recorder)
    assert told == "Bella is Ada-canary's, one of 1"
    (asked,) = recorder.of(ApprovalAsked)
    assert asked.resource == "tool:lively/elicitation"
    assert asked.arguments["message"] == "Whose cow is Bella?"
    assert asked.arguments["schema"]["required"] == ["name"]
    (given,) = recorder.of(ApprovalGiven)
    assert (given.granted, given.by) == (True, "user:ada")
    others = [event for event in recorder.events if not isinstance(event, ToolReturned)]
    before = [event.to_json() for event in others[: others.index(given) + 1]]
    assert "Ada-canary" not in json.dumps(before) + repr(audit.records)
    assert "tool:lively/elicitation" in {record.resource for record in audit.records}


@pytest.mark.parametrize("content", [None, {"name": 7}], ids=["nothing", "a number for a name"])
async def test_a_form_that_is_not_filled_in_well_is_declined(content: dict[str, Any] | None) -> None:
    told, _ = await brand(Person(content), Recorder())
    assert "elicitation was decline" in told
    assert "Bella is" not in told


async def test_nobody_is_asked_what_a_rule_denies_and_nobody_is_there_to_be_asked_is_a_no() -> None:
    denied = SecurityPolicy(resource="tool:*/elicitation", actions=["call"], effect="deny")
    person, recorder = Person({"name": "Ada"}), Recorder()
    told, audit = await brand(person, recorder, Policy(rules=[*ALLOW.rules, denied]))
    assert "elicitation was decline" in told
    assert person.asked == []
    assert [record.result for record in audit.records if record.resource == "tool:lively/elicitation"] == ["denied"]
    told, _ = await brand(None, Recorder())
    assert "elicitation was decline" in told


async def test_progress_and_log_are_events_of_their_call() -> None:
    lm, _ = scripted_lm([Reply(calls=[Call("lively_work", {}, id="c1")]), "done"])
    recorder = Recorder()
    await ReAct("task -> answer", [lively()], lm=lm, policy=ALLOW, sinks=[recorder]).run("Work")
    steps = recorder.of(ToolProgressed)
    assert [(step.tool, step.done, step.total, step.message) for step in steps] == [
        ("lively_work", 1, 2, "step 1"),
        ("lively_work", 2, 2, "step 2"),
    ]
    (returned,) = recorder.of(ToolReturned)
    (logged,) = recorder.of(ServerLogged)
    assert (logged.server, logged.level, logged.text) == ("lively", "warning", "the hay is damp")
    assert {each.call_id for each in (*steps, logged)} == {returned.call_id}
    assert all(step.seq < returned.seq for step in steps)


async def test_a_tool_is_called_no_more_often_than_the_policys_rate_for_the_agent() -> None:
    rates = [Rate(resource="tool:lively/*", calls=2, seconds=60, per="principal")]
    policy = Policy(rules=ALLOW.rules, rates=rates)
    call = Call("lively_work", {})
    lm, _ = scripted_lm([Reply(calls=[call]), Reply(calls=[call]), Reply(calls=[call]), "done"])
    recorder = Recorder()
    assert (await ReAct("task -> answer", [lively()], lm=lm, policy=policy, sinks=[recorder]).run("Work")).ok
    assert [returned.outcome for returned in recorder.of(ToolReturned)] == ["ok", "ok", "denied"]
    assert "the rate of 2 in 60 s for tool:lively/* is used up; try again in" in recorder.of(ToolReturned)[2].content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def script(name: str) -> list[Any]:
    look, feed = Call("mortal_look", {"animal": "Bella"}), Call("mortal_feed", {"animal": "Bella"})
    first = {"look": look, "feed": feed}[name]
    return [Reply(calls=[look]), Reply(calls=[first]), Reply(calls=[look]), Reply(calls=[feed]), "Bella is well"]


@pytest.mark.parametrize("dies_in", ["look", "feed"])
async def test_a_run_ends_right_although_its_stdio_server_was_killed_in_the_middle(folder: Path, dies_in: str) -> None:
    config = StdioServer(sys.executable, (str(SERVERS / "mortal.py"),), env={"FOLDER": str(folder)}, trust=True)
    recorder = Recorder()

    class Assassin:
        """Orders the death of the server in the second call."""

        def emit(self, event: Event) -> None:
            if isinstance(event, ToolReturned) and len(recorder.of(ToolReturned)) == 1:
                (folder / "die").write_text(dies_in)

    lm, _ = scripted_lm(script(dies_in))
    agent = ReAct("task -> answer", [MCPServer("mortal", config)], lm=lm, policy=ALLOW, sinks=[recorder, Assassin()])
    result = await agent.run("How is Bella?")
    assert result.ok
    told = [(returned.tool, returned.outcome) for returned in recorder.of(ToolReturned)]
    if dies_in == "look":  # read again, by itself
        assert [outcome for _, outcome in told] == ["ok"] * 4
        assert calls(folder) == ["look", "look", "look", "look", "feed"]
    else:  # not fed twice
        assert [outcome for _, outcome in told] == ["ok", "error", "ok", "ok"]
        assert "whether the call took effect is unknown" in recorder.of(ToolReturned)[1].content
        assert calls(folder) == ["look", "feed", "look", "feed"]
    pids = {returned.content.split()[-1] for returned in recorder.of(ToolReturned) if returned.outcome == "ok"}
    assert len(pids) == 2
    assert max(returned.seconds for returned in recorder.of(ToolReturned)) < 15


async def test_a_run_ends_right_although_its_http_server_was_restarted_in_the_middle(folder: Path) -> None:
    port = free_port()
    command = [sys.executable, str(SERVERS / "mortal.py"), str(port)]
    with Process(command, r"Uvicorn running", port=port, env={"FOLDER": str(folder)}) as server:
        config = HttpServer(f"http://127.0.0.1:{port}/mcp", trust=True)
        recorder = Recorder()

        class Restart:
            def emit(self, event: Event) -> None:
                if isinstance(event, ToolReturned) and len(recorder.of(ToolReturned)) == 1:
                    server.kill()
                    server.start()

        lm, _ = scripted_lm(script("feed"))
        agent = ReAct("task -> answer", [MCPServer("mortal", config)], lm=lm, policy=ALLOW, sinks=[recorder, Restart()])
        result = await agent.run("How is Bella?")
    assert result.ok
    assert [returned.outcome for returned in recorder.of(ToolReturned)] == ["ok"] * 4
    assert calls(folder) == ["look", "feed", "look", "feed"]
