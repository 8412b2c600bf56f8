"""Traps of DSPy 3.4 that an agent must not fall into; each would fail on dspy.ReActV2 or a naive use."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import anyio
import anyio.lowlevel
import dspy
import pytest
from dspy.lm15 import Request

from corral.agents import Model, ModelSpec, ReAct, Session
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.tools import tool


@tool(effect="read")
def echo(text: str) -> str:
    """Say it again."""
    return text


async def test_ids_that_a_server_repeats_are_answered_one_by_one() -> None:
    """Trap 3."""
    calls = [Call("echo", {"text": "a"}, "same"), Call("echo", {"text": "b"}, "same")]
    lm, engine = scripted_lm([Reply(calls=calls), "done"])
    assert (await ReAct("question -> answer", [echo], lm=lm).run("?")).ok
    results = engine.requests[1].messages[-1].parts
    assert [part.content[0].text for part in results] == ["a", "b"]  # type: ignore[union-attr]


async def test_a_conversation_of_another_agent_is_not_changed() -> None:
    """Trap 2."""
    lm, _ = scripted_lm([Reply(calls=[Call("echo", {"text": "a"})]), "done"])
    agent = ReAct("question -> answer", [echo], lm=lm)
    session = Session(agent)
    first = await session.run("?")
    before = copy.copy(first.messages)
    await session.run("and?")
    assert first.messages == before


def test_an_agent_can_be_copied_and_its_tools_pickled() -> None:
    """Trap 4."""
    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", [echo], lm=lm)
    copied = agent.deepcopy()
    assert copied(question="?").answer == "hi"
    assert copied.predict is not agent.predict
    assert pickle.loads(pickle.dumps(agent.predict.signature.instructions)) == agent.predict.signature.instructions


async def test_many_blocking_tools_in_one_turn_leave_the_loop_free() -> None:
    """Traps 8 and 13: DSPy's stream deadlocks when one turn makes nine calls of blocking tools."""
    meeting = threading.Barrier(12, timeout=10)

    @tool(effect="read")
    def meet(number: int) -> int:
        """Wait in a thread for all others."""
        meeting.wait()
        return number

    lm, _ = scripted_lm([Reply(calls=[Call("meet", {"number": n}) for n in range(12)]), "done"])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.lowlevel.checkpoint()
            ticks += 1

    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            events = [event async for event in ReAct("question -> answer", [meet], lm=lm).stream("?")]
            group.cancel_scope.cancel()
    assert events[-1].to_json()["reason"] == "done"
    assert ticks > 10


@pytest.mark.parametrize("arguments", ['{"text": ', "[1, 2]", '"text"', "null"])
async def test_arguments_that_are_no_object_are_answered_to_the_model(arguments: str) -> None:
    """Trap 26."""
    call = {"id": "1", "type": "function", "function": {"name": "echo", "arguments": arguments}}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}
    with ScriptedServer([Reply(fault=Fault(200, answer)), "done"]) as server:
        agent = ReAct("question -> answer", [echo], lm=ModelSpec(model="openai/m", api_base=server.url))
        result = await agent.run("?")
    assert result.ok
    assert server.bodies[1]["messages"][-1]["role"] == "tool"


async def test_a_call_without_a_name_is_asked_for_again() -> None:
    call = {"id": "1", "type": "function", "function": {"name": None, "arguments": "{}"}}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}
    with ScriptedServer([Reply(fault=Fault(200, answer)), "done"]) as server:
        result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")
    assert result.ok
    assert len(server.bodies) == 2


async def test_two_servers_with_one_model_name_share_no_answers() -> None:
    """Trap 20."""
    answers: list[str] = []
    for text in ("one", "two"):
        with ScriptedServer([text]) as server:
            agent = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url))
            answers.append((await agent.run("the same?")).text)
    assert answers == ["one", "two"]


async def test_nothing_of_a_run_is_kept_in_dspys_histories() -> None:
    """Trap 29."""
    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", lm=lm)
    await agent.run("a secret?")
    assert getattr(lm, "history", []) == []
    assert "a secret" not in str(getattr(agent, "history", []))


async def test_a_context_of_dspy_does_not_leak_out_of_a_stream() -> None:
    """Trap 30."""
    lm, _ = scripted_lm(["hi"])
    before = dspy.settings.lm
    async for _ in ReAct("question -> answer", lm=lm).stream("?"):
        assert dspy.settings.lm is before
    assert dspy.settings.lm is before


def test_an_agent_runs_in_a_second_loop_and_in_other_threads_without_configure() -> None:
    """Trap 31."""
    import asyncio

    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", lm=lm)
    assert [asyncio.run(agent.run("?")).text for _ in range(2)] == ["hi", "hi"]
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(agent(question="?").answer))
    thread.start()
    thread.join(10)
    assert said == ["hi"]


async def test_a_parameter_called_name_is_passed_on() -> None:
    """Trap 17."""

    @tool(effect="read")
    def greet(name: str) -> str:
        """Greet."""
        return f"hello {name}"

    lm, engine = scripted_lm([Reply(calls=[Call("greet", {"name": "ann"})]), "done"])
    await ReAct("question -> answer", [greet], lm=lm).run("?")
    assert "hello ann" in str(engine.requests[1].messages[-1].parts)


async def test_an_agent_inside_a_dspy_program_and_a_program_as_its_tool() -> None:
    class Shout(dspy.Module):
        def forward(self, text: str) -> Any:
            return dspy.Prediction(out=text.upper())

    shouting = Shout()

    @tool(effect="read")
    def shout(text: str) -> str:
        """Say it loud."""
        return shouting(text=text).out

    class Outer(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.agent = ReAct("question -> answer", [shout])

        async def aforward(self, question: str) -> Any:
            return await self.agent.acall(question=question)

    def script(request: Request, number: int) -> Reply:
        return Reply(calls=[Call("shout", {"text": "hi"})]) if number == 0 else Reply("done")

    lm, engine = scripted_lm(script)
    with dspy.context(lm=lm):
        assert (await Outer().acall(question="?")).answer == "done"
    assert "HI" in str(engine.requests[1].messages[-1].parts)


async def test_a_read_timeout_is_tried_again() -> None:
    """Trap 27: DSPy calls it a transport error."""
    with ScriptedServer([Reply(fault=Fault(hang=10)), "hi"]) as server:
        model = Model(ModelSpec(model="openai/m", api_base=server.url, timeout=0.2))
        with anyio.fail_after(10):
            assert (await ReAct("question -> answer", lm=model).run("?")).text == "hi"
