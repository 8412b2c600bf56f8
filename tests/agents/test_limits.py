"""A model that never ends is stopped at exactly the cap, for each cap and each kind of agent."""

import re

import anyio
import pytest

from corral.agents import Agent, CodeAct, DefinitionError, ModelSpec, Price, ReAct, StopReason
from corral.agents.testing import Call, Reply, ScriptedServer, scripted_lm
from corral.policy import Budget, BudgetWarned, Limits
from corral.sandbox import MontyProvider
from corral.tools import tool

from .conftest import Build, Recorder, call_reply


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def tools(self) -> list[object]:
        @tool(effect="read")
        def count() -> int:
            """Count."""
            self.calls += 1
            return self.calls

        return [count]


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.mark.parametrize("cap", [1, 2, 7])
async def test_steps_stop_at_exactly_the_cap(
    kind: str, build: Build, counter: Counter, cap: int, recorder: Recorder
) -> None:
    agent, engine = build(
        [call_reply(kind, [("count", {})])], counter.tools(), limits=Limits(steps=cap), sinks=[recorder]
    )
    result = await agent.run("?")
    assert result.reason is StopReason.STEPS
    assert result.steps == len(engine.requests) == cap
    assert counter.calls == cap - 1
    assert recorder.of(BudgetWarned)[0].limit == "steps"


@pytest.mark.parametrize("cap", [0, 1, 5])
async def test_tool_calls_stop_at_exactly_the_cap(kind: str, build: Build, counter: Counter, cap: int) -> None:
    agent, engine = build([call_reply(kind, [("count", {})])], counter.tools(), limits=Limits(tool_calls=cap))
    result = await agent.run("?")
    assert result.reason is StopReason.TOOL_CALLS
    assert result.tool_calls == cap
    # A cell is a call too, and so is the call that it makes.
    assert counter.calls == (cap // 2 if kind == "code" else cap)
    assert len(engine.requests) == (-(-cap // 2) if kind == "code" else cap) + 1


async def test_one_turn_with_a_hundred_calls_never_overshoots(counter: Counter) -> None:
    lm, _ = scripted_lm([Reply(calls=[Call("count")] * 100)])
    result = await ReAct("question -> answer", counter.tools(), lm=lm, limits=Limits(tool_calls=37)).run("?")
    assert counter.calls == 37
    assert result.tool_calls == 37
    assert result.reason is StopReason.TOOL_CALLS


async def test_a_cell_with_a_hundred_calls_never_overshoots(counter: Counter) -> None:
    code = "for _ in range(100):\n    try:\n        count()\n    except Exception:\n        pass"
    lm, _ = scripted_lm([Reply(calls=[Call("python", {"code": code})])])
    agent = CodeAct("question -> answer", counter.tools(), lm=lm, limits=Limits(tool_calls=37), sandbox=MontyProvider())
    result = await agent.run("?")
    assert counter.calls == 36
    assert result.tool_calls == 37


@pytest.mark.parametrize("cap", [600, 2000, 20_000])
async def test_tokens_are_never_overshot_and_well_used(kind: str, build: Build, counter: Counter, cap: int) -> None:
    grown = 0

    def script(request: object, number: int) -> Reply:
        nonlocal grown
        grown = 100 + 60 * number
        reply = call_reply(kind, [("count", {})])
        return Reply(text=reply.text, calls=reply.calls, input_tokens=grown, output_tokens=20)

    agent, _ = build(script, counter.tools(), limits=Limits(tokens=cap, steps=None))
    result = await agent.run("?")
    assert result.reason is StopReason.TOKENS
    assert result.usage.tokens <= cap
    # It stopped because a further step and a final answer would not have fitted, not long before.
    assert result.usage.tokens + 3 * (grown + 200) + cap // 4 > cap


async def test_money_is_never_overshot_and_well_used(kind: str, counter: Counter) -> None:
    said = call_reply(kind, [("count", {})])
    with ScriptedServer([Reply(said.text, said.calls, input_tokens=1000, output_tokens=100)]) as server:
        spec = ModelSpec(
            model="openai/m",
            api_base=server.url,
            price=Price(input=10, output=30),
            max_tokens=200,
            native_tools=kind != "text",
        )
        limits = Limits(cost_usd=0.1)
        if kind == "code":
            agent: Agent = CodeAct("q -> answer", counter.tools(), lm=spec, limits=limits, sandbox=MontyProvider())
        else:
            agent = ReAct("q -> answer", counter.tools(), lm=spec, limits=limits)
        result = await agent.run("?")
    assert result.reason is StopReason.COST
    assert result.usage.cost_usd is not None
    assert 0.05 < result.usage.cost_usd <= 0.1


async def test_money_is_never_overshot_where_only_the_prompt_costs(counter: Counter) -> None:
    reply = Reply("Going on.", [Call("count")], input_tokens=1000, output_tokens=100)
    with ScriptedServer([reply]) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, price=Price(input=10, output=0), max_tokens=200)
        result = await ReAct("q -> answer", counter.tools(), lm=spec, limits=Limits(cost_usd=0.1)).run("?")
    assert result.reason is StopReason.COST
    assert result.usage.cost_usd is not None
    assert 0.05 < result.usage.cost_usd <= 0.1


async def test_money_can_not_be_limited_where_the_price_is_unknown() -> None:
    lm, engine = scripted_lm(["x"])
    with pytest.raises(DefinitionError, match="price of scripted/model is not known"):
        await ReAct("question -> answer", lm=lm, limits=Limits(cost_usd=1)).run("?")
    assert engine.requests == []


async def test_seconds_stop_the_run_and_leave_time_for_a_final_answer(kind: str, build: Build) -> None:
    @tool(effect="read")
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    def script(request: object, number: int) -> Reply:
        return call_reply(kind, [("hang", {})]) if number == 0 else Reply(text="what I have")

    agent, _ = build(script, [hang], limits=Limits(seconds=1.0))
    with anyio.fail_after(3):
        result = await agent.run("?")
    assert result.reason is StopReason.SECONDS
    assert result.outputs == {"answer": "what I have"}
    assert result.seconds < 1.2


async def test_a_model_that_never_answers_ends_with_the_time() -> None:
    lm, _ = scripted_lm([Reply(text="late", delay=60)])
    with anyio.fail_after(3):
        result = await ReAct("question -> answer", lm=lm, limits=Limits(seconds=0.5)).run("?")
    assert result.reason is StopReason.SECONDS
    assert result.outputs is None


async def test_the_final_answer_is_asked_for_and_taken_at_the_limit() -> None:
    def script(request: object, number: int) -> Reply:
        return Reply(calls=[Call("count")]) if number < 2 else Reply(calls=[Call("submit", {"total": 2})])

    lm, engine = scripted_lm(script)
    counter = Counter()
    result = await ReAct("question -> total: int", counter.tools(), lm=lm, limits=Limits(steps=3)).run("?")
    assert result.reason is StopReason.STEPS
    assert result.outputs == {"total": 2}
    assert engine.requests[-1].config.tool_choice.allowed == ("submit",)


@pytest.mark.parametrize("limits", [Limits(steps=1), Limits(tool_calls=0)], ids=["one step", "no calls"])
async def test_a_whole_answer_in_the_first_step_is_done_whatever_the_limit(limits: Limits) -> None:
    """Nothing was cut off: who allows one answer only, and gets it, has what was asked for."""
    lm, _ = scripted_lm([Reply(calls=[Call("submit", {"total": 4})])])
    result = await ReAct("question -> total: int", Counter().tools(), lm=lm, limits=limits).run("2 + 2?")
    assert result.ok
    assert result.outputs == {"total": 4}


@pytest.mark.parametrize("limits", [Limits(tokens=40), Limits(cost_usd=0.0001)], ids=["tokens", "money"])
async def test_a_first_call_that_does_not_fit_says_what_it_needs_and_what_is_left(limits: Limits) -> None:
    spec = ModelSpec(model="openai/m", api_base="http://127.0.0.1:9/v1", price=Price(input=10, output=30))
    result = await ReAct("question -> answer", lm=spec, limits=limits).run("a longer question " * 20)
    assert result.reason.is_limit
    assert re.search(r"leaves (40|0\.0001), and \S+ are needed", result.detail), result.detail
    assert result.steps == 0


async def test_time_that_runs_out_in_the_last_step_is_what_ended_the_run() -> None:
    lm, _ = scripted_lm([Reply(text="late", delay=60)])
    with anyio.fail_after(3):
        result = await ReAct("question -> answer", lm=lm, limits=Limits(steps=1, seconds=0.3)).run("?")
    assert result.reason is StopReason.SECONDS


async def test_an_agent_without_limits_still_ends(counter: Counter) -> None:
    lm, _ = scripted_lm([Reply(calls=[Call("count")])])
    result = await ReAct("question -> answer", counter.tools(), lm=lm).run("?")
    assert result.reason is StopReason.STEPS
    assert result.steps == 30


async def test_a_hundred_runs_that_share_a_budget_never_overshoot_it(counter: Counter) -> None:
    lm, engine = scripted_lm([Reply(calls=[Call("count")])])
    budget = Budget(Limits(steps=150, tool_calls=60))
    agent = ReAct("question -> answer", counter.tools(), lm=lm, budget=budget)
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(agent.run, "?")
    assert counter.calls == 60
    assert budget.spent.tool_calls == 60
    assert len(engine.requests) == budget.spent.steps <= 150
