"""DSPy modules as tools of an agent: asked through its gate, paid from its budget."""

from __future__ import annotations

from typing import Any, cast

import dspy
import pytest

from corral.agents import DefinitionError, ReAct, module_tool
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Limits, MemoryAudit, Policy, SecurityPolicy, Spend, ToolReturned

from .conftest import Recorder

ANSWER = "[[ ## reasoning ## ]]\nAdd.\n\n[[ ## total ## ]]\n4\n\n[[ ## completed ## ]]"
EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


def agent(tool: Any, **options: Any) -> ReAct:
    lm = scripted_lm([Reply(calls=[Call("adds", {"question": "2 + 2"})]), "It is four."])[0]
    return ReAct("question -> answer", [tool], lm=lm, **{"policy": EVERYTHING, **options})


def adds(module: dspy.Module | None = None, **options: Any) -> Any:
    made = module or dspy.ChainOfThought("question -> total: int")
    lm = scripted_lm([ANSWER], model="scripted/adder")[0]
    return module_tool(made, "question -> total: int", name="adds", lm=lm, **options)


async def test_a_module_is_asked_through_the_gate_and_paid_by_the_run(recorder: Recorder) -> None:
    audit = MemoryAudit()
    result = await agent(adds(), audit=audit, sinks=[recorder]).run("?")
    assert result.ok
    (said,) = recorder.of(ToolReturned)
    assert (said.outcome, said.content) == ("ok", '{"total": 4}')
    assert result.spent == Spend(steps=3, tool_calls=1, tokens=45)
    assert result.usage.tokens == 45
    asked = [record.resource for record in audit.records if record.entry == "intent"]
    assert asked == ["model:scripted/model", "tool:dspy/adds", "model:scripted/adder", "model:scripted/model"]


async def test_a_module_can_not_ask_a_model_that_its_agent_can_not(recorder: Recorder) -> None:
    names = ("model:scripted/model", "tool:*")
    policy = Policy(rules=[SecurityPolicy(resource=name, actions=["*"]) for name in names])
    assert (await agent(adds(), policy=policy, sinks=[recorder]).run("?")).ok
    (said,) = recorder.of(ToolReturned)
    assert said.outcome == "error"
    assert "denied: generate model:scripted/adder" in said.content


async def test_a_module_that_is_not_async_runs_in_a_thread_and_asks_the_same_way(recorder: Recorder) -> None:
    class Twice(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = dspy.Predict("question -> total: int")

        def forward(self, question: str) -> dspy.Prediction:
            first: Any = cast("Any", self.one)(question=question)
            second: Any = cast("Any", self.one)(question=f"{question} + {first.total}")
            return dspy.Prediction(total=first.total + second.total)

    result = await agent(adds(Twice()), sinks=[recorder]).run("?")
    assert recorder.of(ToolReturned)[0].content == '{"total": 8}'
    assert result.spent.steps == 4


async def test_a_module_that_spends_too_much_is_stopped(recorder: Recorder) -> None:
    class Endless(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = dspy.Predict("question -> total: int")

        async def aforward(self, question: str) -> dspy.Prediction:
            while True:
                await cast("Any", self.one).acall(question=question)

    result = await agent(adds(Endless()), limits=Limits(steps=8), sinks=[recorder]).run("?")
    assert recorder.of(ToolReturned)[0].outcome == "error"
    assert "8 steps" in recorder.of(ToolReturned)[0].content
    assert result.spent.steps == 8


async def test_without_a_policy_a_module_asks_like_any_function(recorder: Recorder) -> None:
    assert (await agent(adds(), policy=None, sinks=[recorder]).run("?")).ok
    assert recorder.of(ToolReturned)[0].outcome == "denied"
    recorder.events.clear()
    assert (await agent(adds(effect="read"), policy=None, sinks=[recorder]).run("?")).ok
    assert recorder.of(ToolReturned)[0].outcome == "ok"


def test_a_module_with_an_lm_of_its_own_is_refused() -> None:
    module: Any = dspy.Predict("question -> total: int")
    module.lm = scripted_lm(["x"])[0]
    with pytest.raises(DefinitionError, match="an LM of its own"):
        adds(module)
