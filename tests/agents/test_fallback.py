"""Several models as one, what servers say when a prompt is too long, and servers of one's own."""

from __future__ import annotations

import anyio
import pytest
from dspy.lm15 import Message, Request

from corral.agents import (
    AnswerCache,
    ContextOverflow,
    DefinitionError,
    FallbackModel,
    Model,
    ModelError,
    ModelSpec,
    Price,
    ReAct,
    StopReason,
    ToolsUnsupported,
)
from corral.agents.testing import Call, Fault, Reply, ScriptedServer
from corral.policy import Limits, Policy, SecurityPolicy
from corral.tools import tool

DOWN = Reply(fault=Fault(503, {"error": {"message": "overloaded"}}))
LATER = Reply(fault=Fault(429, {"error": {"message": "later"}}, retry_after=600))


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def at(server: ScriptedServer, name: str = "openai/m", **settings: object) -> ModelSpec:
    return ModelSpec.of(model=name, api_base=server.url, **settings)


def ask(model: Model, text: str = "?") -> Request:
    return Request(model=model.name, messages=(Message.user(text),), config=model.config())


async def test_the_next_model_answers_when_the_first_does_not() -> None:
    with ScriptedServer([DOWN]) as first, ScriptedServer(["from the second"]) as second:
        model = FallbackModel([at(first, "openai/a"), at(second, "openai/b", temperature=0.5)])
        with anyio.fail_after(10):
            result = await ReAct("question -> answer", lm=model).run("?")
    assert result.outputs == {"answer": "from the second"}
    assert result.steps == 1
    assert (second.bodies[0]["model"], second.bodies[0]["temperature"]) == ("b", 0.5)


async def test_a_server_that_asks_for_a_long_wait_is_not_waited_for_while_there_is_another() -> None:
    with ScriptedServer([LATER]) as first, ScriptedServer(["hi"]) as second:
        with anyio.fail_after(5):
            result = await ReAct("question -> answer", lm=FallbackModel([at(first), at(second)])).run("?")
    assert result.outputs == {"answer": "hi"}
    assert len(first.bodies) == 1


async def test_a_request_that_is_wrong_is_not_sent_to_the_next() -> None:
    wrong = Reply(fault=Fault(400, {"error": {"message": "no such setting"}}))
    with ScriptedServer([wrong]) as first, ScriptedServer(["hi"]) as second:
        result = await ReAct("question -> answer", lm=FallbackModel([at(first), at(second)])).run("?")
    assert result.reason is StopReason.MODEL_ERROR
    assert "no such setting" in result.detail
    assert second.bodies == []


async def test_an_endpoint_that_keeps_failing_is_left_alone() -> None:
    with ScriptedServer([LATER]) as first, ScriptedServer(["hi"]) as second:
        agent = ReAct("question -> answer", lm=FallbackModel([at(first), at(second)]))
        for _ in range(6):
            assert (await agent.run("?")).ok
    assert len(first.bodies) == 3
    assert len(second.bodies) == 6


async def test_a_model_that_the_policy_refuses_is_passed_over_and_never_asked() -> None:
    rules = [SecurityPolicy(resource="model:openai/b", actions=["generate"])]
    with ScriptedServer(["from a"]) as first, ScriptedServer(["from b"]) as second:
        model = FallbackModel([at(first, "openai/a"), at(second, "openai/b")])
        result = await ReAct("question -> answer", lm=model, policy=Policy(rules=rules)).run("?")
    assert result.outputs == {"answer": "from b"}
    assert first.bodies == []


async def test_a_prompt_that_is_too_long_for_one_goes_to_a_larger_one() -> None:
    with ScriptedServer([Reply(fault=Fault.overflow(4096))]) as small, ScriptedServer(["read it all"]) as large:
        model = FallbackModel([at(small), at(large, context_window=100_000)])
        agent = ReAct("question -> answer", lm=model)
        assert (await agent.run("word " * 5000)).outputs == {"answer": "read it all"}
        assert (await agent.run("word " * 5000)).ok
    assert len(small.bodies) == 1


async def test_under_a_money_limit_every_model_needs_a_price() -> None:
    with ScriptedServer(["hi"]) as server:
        priced, unpriced = at(server, price=Price(input=1, output=2)), at(server, "openai/other")
        with pytest.raises(DefinitionError, match="price"):
            await ReAct(
                "question -> answer", lm=FallbackModel([priced, unpriced]), limits=Limits(cost_usd=1)
            ).run("?")  # fmt: skip
        dear = at(server, "openai/dear", price=Price(input=10, output=20))
        result = await ReAct("question -> answer", lm=FallbackModel([priced, dear]), limits=Limits(cost_usd=1)).run("?")
    assert result.usage.cost_usd == pytest.approx((10 * 1 + 5 * 2) / 1e6)


async def test_an_answer_has_a_deadline_over_all_attempts() -> None:
    with ScriptedServer([Reply(fault=Fault(429, retry_after=20))]) as server:
        model = Model(at(server, deadline=0.3))
        with anyio.fail_after(5), pytest.raises(ModelError, match=r"within 0\.3 s"):
            await model.generate(ask(model))
        await model.close()


@pytest.mark.parametrize("server_kind", ["openai", "vllm", "vllm-flat", "llama.cpp", "ollama", "lmstudio"])
async def test_an_overflow_is_known_as_one_whichever_server_says_it(server_kind: str) -> None:
    with ScriptedServer([Reply(fault=Fault.overflow(4096, server_kind))]) as server:
        model = Model(at(server))
        with pytest.raises(ContextOverflow) as caught:
            await model.generate(ask(model))
        await model.close()
    assert len(server.bodies) == 1
    if server_kind in ("openai", "vllm", "vllm-flat", "lmstudio"):
        assert caught.value.window == 4096


@pytest.mark.parametrize(
    "message",
    [
        "registry.ollama.ai/library/gemma:2b does not support tools",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "tools param requires --jinja flag",
    ],
)
async def test_a_server_without_function_calls_gets_the_text_protocol(message: str) -> None:
    def script(body: dict[str, object], number: int) -> Reply:
        if "tools" in body:
            return Reply(fault=Fault(400, {"error": {"message": message}}))
        if len(body["messages"]) == 2:  # type: ignore[arg-type]
            return Reply('[[ ## tool_calls ## ]]\n{"tool_calls": [{"name": "add", "args": {"a": 1, "b": 2}}]}')
        return Reply('[[ ## tool_calls ## ]]\n{"tool_calls": [{"name": "submit", "args": {"answer": "3"}}]}')

    with ScriptedServer(script) as server:
        agent = ReAct("question -> answer", [add], lm=at(server))
        result = await agent.run("1 + 2?")
        again = await agent.run("1 + 2?")
    assert result.outputs == again.outputs == {"answer": "3"}
    assert (result.repairs, again.repairs) == (1, 0)
    assert sum("tools" in body for body in server.bodies) == 1


async def test_function_calls_that_stay_unreadable_are_given_up_for_text() -> None:
    garbled = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1,'}}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [garbled]}}]}

    def script(body: dict[str, object], number: int) -> Reply:
        if "tools" in body:
            return Reply(fault=Fault(200, answer))
        return Reply('[[ ## tool_calls ## ]]\n{"tool_calls": [{"name": "submit", "args": {"answer": "3"}}]}')

    with ScriptedServer(script) as server:
        result = await ReAct("question -> answer", [add], lm=at(server)).run("1 + 2?")
    assert result.outputs == {"answer": "3"}
    assert result.repairs == 4
    assert len(server.bodies) == 4
    said = [str(message["content"]) for message in server.bodies[3]["messages"]]
    assert any("tool_calls" in text and "add" in text for text in said[1:])
    assert not any("tool_calls" in message for message in server.bodies[3]["messages"])


@pytest.mark.parametrize("address", ["vllm", "llama.cpp", "ollama", "lm studio"])
async def test_servers_of_ones_own_are_offered_function_calls(address: str) -> None:
    with ScriptedServer([Reply(calls=[Call("add", {"a": 1, "b": 2})]), "3"]) as server:
        spec = ModelSpec(model=f"openai/{address.split()[0]}-model", api_base=server.url)
        result = await ReAct("question -> answer", [add], lm=spec).run("1 + 2?")
    assert result.ok
    assert server.bodies[0]["tools"][0]["function"]["name"] == "add"
    assert server.bodies[1]["messages"][-1]["role"] == "tool"


async def test_answers_are_kept_for_one_tenant_and_a_while() -> None:
    now = 0.0
    caches = [AnswerCache(name, ttl=60, clock=lambda: now) for name in ("ann", "bob")]
    with ScriptedServer(lambda body, number: Reply(f"answer {number}")) as server:
        spec = at(server, price=Price(input=1, output=1))
        for_ann, for_bob = (ReAct("question -> answer", lm=Model(spec, cache=cache)) for cache in caches)
        first = await for_ann.run("?")
        kept = await for_ann.run("?")
        other = await for_bob.run("?")
        now = 61.0
        late = await for_ann.run("?")
    assert [r.text for r in (first, kept, other, late)] == ["answer 0", "answer 0", "answer 1", "answer 2"]
    assert kept.usage.tokens == 0
    assert kept.usage.cost_usd == 0.0


async def test_one_cache_tells_servers_with_one_model_name_apart() -> None:
    cache = AnswerCache("ann")
    with ScriptedServer(["from one"]) as one, ScriptedServer(["from two"]) as two:
        texts = [(await ReAct("question -> answer", lm=Model(at(s), cache=cache)).run("?")).text for s in (one, two)]
    assert texts == ["from one", "from two"]


async def test_without_a_cache_every_run_asks_anew() -> None:
    with ScriptedServer(lambda body, number: Reply(f"answer {number}")) as server:
        agent = ReAct("question -> answer", lm=at(server))
        assert [(await agent.run("?")).text for _ in range(2)] == ["answer 0", "answer 1"]


def test_a_refusal_of_tools_is_an_error_of_its_own() -> None:
    assert issubclass(ToolsUnsupported, ModelError)
    with pytest.raises(DefinitionError, match="at least one"):
        FallbackModel([])
