"""Every path to an effect, by name: what is in this table passes the gate, and nothing else may exist."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from dspy.primitives.code_interpreter import CodeExecutionError

from corral.agents import CodeAct, Interpreter, ReAct, Refusal
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import (
    Action,
    Approval,
    ApprovalRequest,
    Budget,
    Denied,
    Gate,
    MemoryAudit,
    NotAdmitted,
    Policy,
    SecurityPolicy,
    ToolReturned,
)
from corral.sandbox import MontyProvider
from corral.tools import tool

from .conftest import Recorder

ROOT = Path(__file__).parents[2]

EFFECTS = {
    "generate": "a model is asked",
    "execute": "code runs",
    "acall": "a model is asked",
    "complete": "a model is asked",
}
"""Methods that cause something by themselves, by name. Tools and memory take an admission: whoever hands one on is
found by that, whatever the method is called."""

PATHS = {
    ("agents/corral/agents/effects/models.py", "generate"): "inside Gate.perform",
    ("agents/corral/agents/effects/cells.py", "execute"): "inside Gate.perform",
    ("agents/corral/agents/interpreter.py", "execute"): "inside Gate.perform; and DSPy's own entry to it",
    ("agents/corral/agents/dialogue.py", "generate"): "ModelEffects.generate",
    ("agents/corral/agents/cells.py", "execute"): "CellEffects.execute",
    ("agents/corral/agents/rlm.py", "execute"): "CellEffects.execute",
    ("agents/corral/agents/rlm.py", "generate"): "ModelEffects.generate",
    ("agents/corral/agents/rlm.py", "complete"): "dspy.RLM's way into ModelEffects.generate",
    ("agents/corral/agents/planning.py", "generate"): "Effects.models.generate",
    ("agents/corral/agents/memorymodel.py", "generate"): "ModelEffects.generate",
    ("agents/corral/agents/memorytools.py", "complete"): "a field of the receipt of an erasure",
    ("agents/corral/agents/model.py", "complete"): "inside Model.generate: the engine, once an attempt",
    ("agents/corral/agents/engine.py", "complete"): "the engines themselves",
    ("agents/corral/agents/engine.py", "acall"): "the engine that goes through DSPy",
    ("agents/corral/agents/modules.py", "acall"): "a DSPy module, whose engine asks by the run's gate",
    ("agents/corral/agents/modules.py", "complete"): "a DSPy module's way into ModelEffects.ask_below",
    ("agents/corral/agents/journal.py", "execute"): "SQL",
    ("agents/corral/agents/lineage.py", "execute"): "SQL",
    ("agents/corral/agents/records.py", "execute"): "SQL",
    ("agents/corral/agents/schema.py", "execute"): "SQL",
    ("agents/corral/agents/writer.py", "execute"): "SQL",
    ("apps/corral/apps/chat/pictures.py", "execute"): "what CellEffects.execute runs, looked at on its way back",
    ("apps/corral/apps/doctor.py", "execute"): "1 + 1, our own, to see whether Monty works",
    ("apps/corral/apps/memory.py", "complete"): "a field of the receipt of an erasure",
    ("apps/corral/apps/sandbox.py", "execute"): "CellEffects.execute",
}


ADMITTED = {
    ("agents/corral/agents/consolidating.py", "consolidate"),
    ("agents/corral/agents/effects/tools.py", "call"),
    *(("agents/corral/agents/effects/memory.py", method) for method in ("recall", "remember")),
    *(("agents/corral/agents/memorytools.py", method) for method in ("_work", "forget", "recall", "remember")),
    ("apps/corral/apps/consolidation.py", "consolidate"),
    *(("apps/corral/apps/memory.py", method) for method in ("export", "forget", "import_", "learn", "recall")),
    ("agents/corral/agents/skills/source.py", "call"),  # a source, to its own tool
    ("apps/corral/apps/chat/looking.py", "load_skill"),
}
"""Who hands an admission on to a tool or a memory, each inside Gate.perform."""


def hands_on_an_admission(node: ast.AST) -> bool:
    given = [*node.args, *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.Call) else []
    return any(isinstance(value, ast.Name) and value.id == "admission" for value in given)


def test_no_effect_is_caused_outside_of_the_known_paths() -> None:
    found: set[tuple[str, str]] = set()
    admitted: set[tuple[str, str]] = set()
    for room in ("agents", "apps"):
        for path in (ROOT / room / "corral").rglob("*.py"):
            if "testing" in path.parts:
                continue
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in EFFECTS:
                    found.add((name, node.attr))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and hands_on_an_admission(node):
                    admitted.add((name, node.func.attr))
    assert found == set(PATHS)
    assert admitted == ADMITTED


def ran(log: list[str], effect: str = "once") -> Any:
    @tool(effect=effect)  # pyright: ignore[reportArgumentType]
    def act(what: str) -> str:
        """Do something."""
        log.append(what)
        return "done"

    return act


ALLOW_MODEL_AND_CODE = [
    SecurityPolicy(resource="model:*", actions=["generate"]),
    SecurityPolicy(resource="code:python", actions=["execute"]),
]


async def test_a_denied_tool_never_ran_and_the_model_is_told(recorder: Recorder) -> None:
    log: list[str] = []
    lm, _ = scripted_lm([Reply(calls=[Call("act", {"what": "harm"})]), "done"])
    policy = Policy(rules=ALLOW_MODEL_AND_CODE)
    audit = MemoryAudit()
    agent = ReAct("question -> answer", [ran(log)], lm=lm, policy=policy, audit=audit, sinks=[recorder])
    result = await agent.run("?")
    assert log == []
    assert result.ok
    (returned,) = recorder.of(ToolReturned)
    assert returned.outcome == "denied"
    (refusal,) = result.denied
    assert refusal == Refusal("tool:local/act", refusal.reason)
    assert "no rule of the policy allows it" in refusal.reason
    refusals = [record for record in audit.records if record.entry == "refusal"]
    assert [record.resource for record in refusals] == ["tool:local/act"]


async def test_a_tool_denied_to_the_model_is_denied_to_its_code(recorder: Recorder) -> None:
    log: list[str] = []
    lm, _ = scripted_lm([Reply(calls=[Call("python", {"code": "act(what='harm')"})]), "done"])
    agent = CodeAct(
        "question -> answer", [ran(log)], lm=lm, policy=Policy(rules=ALLOW_MODEL_AND_CODE),
        sandbox=MontyProvider(), sinks=[recorder],
    )  # fmt: skip
    result = await agent.run("?")
    assert log == []
    assert result.ok
    assert recorder.of(ToolReturned)[0].outcome == "denied"
    assert [refusal.resource for refusal in result.denied] == ["tool:local/act"]


async def test_denied_code_never_ran() -> None:
    log: list[str] = []
    lm, engine = scripted_lm([Reply(calls=[Call("python", {"code": "act(what='x')"})]), "done"])
    policy = Policy(rules=[SecurityPolicy(resource="model:*", actions=["generate"]),
                           SecurityPolicy(resource="tool:*", actions=["call"])])  # fmt: skip
    agent = CodeAct("question -> answer", [ran(log)], lm=lm, policy=policy, sandbox=MontyProvider())
    result = await agent.run("?")
    assert log == []
    assert [refusal.resource for refusal in result.denied] == ["code:python"]
    assert "denied" in engine.requests[1].messages[-1].parts[0].content[0].text


async def test_what_asks_is_denied_without_an_approver_and_names_the_parameter(recorder: Recorder) -> None:
    log: list[str] = []
    lm, _ = scripted_lm([Reply(calls=[Call("act", {"what": "x"})]), "done"])
    await ReAct("question -> answer", [ran(log)], lm=lm, sinks=[recorder]).run("?")
    assert log == []
    assert "approver=" in recorder.of(ToolReturned)[0].content


class Answer:
    def __init__(self, granted: bool) -> None:
        self.granted = granted
        self.asked: list[Action] = []

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked.append(request.action)
        return Approval(request.digest, self.granted, "user:test", "because")


@pytest.mark.parametrize("granted", [True, False])
async def test_what_asks_happens_exactly_when_a_person_agrees(granted: bool) -> None:
    log: list[str] = []
    lm, _ = scripted_lm([Reply(calls=[Call("act", {"what": "x"})]), "done"])
    approver = Answer(granted)
    await ReAct("question -> answer", [ran(log)], lm=lm, approver=approver).run("?")
    assert log == (["x"] if granted else [])
    assert approver.asked[0].arguments == {"what": "x"}


async def test_a_tool_declared_read_only_needs_no_approval() -> None:
    log: list[str] = []
    lm, _ = scripted_lm([Reply(calls=[Call("act", {"what": "look"})]), "done"])
    await ReAct("question -> answer", [ran(log, "read")], lm=lm).run("?")
    assert log == ["look"]


async def test_a_tool_can_not_be_called_around_the_gate() -> None:
    log: list[str] = []
    act = ran(log)
    with pytest.raises(TypeError, match="admission"):
        act(what="x")
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]), Budget())
    with pytest.raises(NotAdmitted):
        await gate.perform(
            Action(act.resource, "call", arguments={"what": "judged"}),
            lambda admission: act.call({"what": "something else"}, admission),
        )
    assert log == []


def test_dspys_interpreter_passes_the_gate_too() -> None:
    called: list[int] = []
    policy = Policy(rules=[SecurityPolicy(resource="code:python", actions=["execute"])])
    refused = pytest.raises(CodeExecutionError, match="denied")
    with Interpreter({"look": called.append}, provider=MontyProvider(), policy=policy) as interpreter, refused:
        interpreter.execute("look(1)")
    assert called == []
    with Interpreter(provider=MontyProvider(), policy=Policy()) as interpreter, refused:
        interpreter.execute("1 + 1")


async def test_denied_is_raised_before_the_effect_is_made() -> None:
    gate = Gate(Policy())
    with pytest.raises(Denied):
        await gate.perform(Action("tool:local/x", "call"), lambda _: pytest.fail("the effect ran"))
