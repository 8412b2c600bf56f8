"""Traps of DSPy 3.4 that an agent must not fall into; each would fail on dspy.ReActV2 or a naive use.

`TRAPS` says for each of them, by its number in the design's list, which test would notice; here or in another file.
"""

from __future__ import annotations

import ast
import copy
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import dspy
import pytest
from dspy.lm15 import RateLimitError, Request, ServerError

from corral.agents import CodeAct, Model, ModelSpec, ReAct, Session
from corral.agents.testing import Call, Fault, Reply, ScriptedServer, scripted_lm
from corral.policy import Limits, Policy, SecurityPolicy
from corral.tools import tool

HERE = Path(__file__).parent

TRAPS = {
    1: "test_journal.py::test_a_run_is_read_back_with_its_conversation_unchanged",
    2: "test_a_conversation_of_another_agent_is_not_changed",
    3: "test_ids_that_a_server_repeats_are_answered_one_by_one",
    4: "test_an_agent_can_be_copied_and_its_tools_pickled",
    5: "test_optimizers.py::test_an_optimised_agent_never_loses_or_restores_tools",
    6: "test_optimizers.py::test_gepa_rewrites_the_instructions_and_nothing_of_the_tools",
    7: "test_the_cost_of_a_step_does_not_grow_with_the_steps_before_it",
    8: "test_many_blocking_tools_in_one_turn_leave_the_loop_free",
    9: "test_loop.py::test_nothing_after_submit_is_done_and_every_call_has_an_answer",
    10: "test_loop.py::test_a_tool_that_raises_is_told_in_one_line_without_a_traceback",
    11: "test_an_answer_in_plain_text_takes_one_call_and_is_kept",
    12: "test_context.py::test_a_task_that_is_longer_than_the_window_ends_the_run_with_that_reason",
    13: "test_many_blocking_tools_in_one_turn_leave_the_loop_free",
    14: "test_stream.py::test_leaving_the_stream_cancels_the_run_and_not_the_caller",
    15: "test_a_cancelled_run_asks_and_calls_nothing_more_from_any_thread",
    16: "test_rlm.py::test_the_event_loop_is_free_while_its_code_runs",
    17: "test_a_parameter_called_name_is_passed_on",
    18: "test_rlm.py::test_code_reads_the_input_and_asks_the_model_about_parts",
    19: "test_no_agent_of_dspy_stands_behind_ours",
    20: "test_two_servers_with_one_model_name_share_no_answers",
    21: "test_fallback.py::test_answers_are_kept_for_one_tenant_and_a_while",
    22: "test_loop.py::test_constraints_of_a_field_are_enforced_and_not_only_told",
    23: "test_model.py::test_unknown_and_wrong_settings_are_errors",
    24: "test_fallback.py::test_servers_of_ones_own_are_offered_function_calls",
    25: "test_fallback.py::test_an_overflow_is_known_as_one_whichever_server_says_it",
    26: "test_arguments_that_are_no_object_are_answered_to_the_model",
    27: "test_a_read_timeout_is_tried_again",
    28: "test_model.py::test_list_prices_are_known_without_a_network",
    29: "test_nothing_of_a_run_is_kept_in_dspys_histories",
    30: "test_a_context_of_dspy_does_not_leak_out_of_a_stream",
    31: "test_an_agent_runs_in_a_second_loop_and_in_other_threads_without_configure",
    32: "test_a_slow_item_of_parallel_work_acts_once",
    33: "test_usage_is_told_by_prediction_in_parallel_work_too",
    34: "test_optimizers.py::test_an_evaluation_of_many_threads_runs_each_example_once",
    35: "test_effects.py::test_a_denied_tool_never_ran_and_the_model_is_told",
    36: "test_effects.py::test_a_tool_can_not_be_called_around_the_gate",
    37: "../tools/test_arguments.py::test_schemas_mean_what_json_schema_says",
    38: "test_optimizers.py::test_saved_state_is_json_without_keys_or_pickles",
    39: "test_dspy.py::test_a_bootstrapped_agent_is_better_and_stays_so_after_save_and_load",
    40: "test_the_scripted_model_calls_waits_and_counts",
    41: "test_model.py::test_cost_counts_cached_tokens_at_their_own_price",
}


def test_every_trap_has_a_test_that_is_there() -> None:
    assert sorted(TRAPS) == list(range(1, 42))
    for where in TRAPS.values():
        file, _, name = where.rpartition("::")
        tree = ast.parse((HERE / (file or Path(__file__).name)).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in defined, where


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
    assert result.repairs == 1


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


async def test_a_wait_that_a_server_asks_for_is_capped_and_others_are_jittered() -> None:
    """Trap 27: DSPy waits for as long as it is told to, and else exactly as long as everybody."""
    from corral.agents.model import PATIENCE, _wait  # pyright: ignore[reportPrivateUsage]

    assert _wait(RateLimitError("later", retry_after=86_400.0), 1) == PATIENCE
    assert _wait(RateLimitError("soon", retry_after=0.5), 1) == 0.5
    waits = {_wait(ServerError("down"), 2) for _ in range(20)}
    assert len(waits) > 10
    assert 0 <= min(waits) <= max(waits) <= 1.0


async def test_the_cost_of_a_step_does_not_grow_with_the_steps_before_it() -> None:
    """Trap 7: there, 200 steps take a hundred times as long as ten."""

    async def cost(steps: int) -> float:
        def script(request: Request, number: int) -> Reply:
            return Reply(calls=[Call("echo", {"text": "a"})]) if number < steps else Reply("done")

        lm, _ = scripted_lm(script)
        agent = ReAct("question -> answer", [echo], lm=lm, limits=Limits(steps=1000))
        started = time.process_time()
        assert (await agent.run("?")).ok
        return time.process_time() - started

    await cost(10)
    assert min([await cost(300) for _ in range(3)]) < 60 * max([await cost(10) for _ in range(3)])


async def test_an_answer_in_plain_text_takes_one_call_and_is_kept() -> None:
    """Trap 11."""
    lm, engine = scripted_lm(["It is 42."])
    result = await ReAct("question -> answer", [echo], lm=lm).run("?")
    assert result.outputs == {"answer": "It is 42."}
    assert len(engine.requests) == 1
    assert result.messages[-1].text == "It is 42."


async def test_a_cancelled_run_asks_and_calls_nothing_more_from_any_thread() -> None:
    """Trap 15."""
    reached, let_go = threading.Event(), threading.Event()
    called: list[int] = []

    @tool(effect="read")
    def slow(number: int) -> str:
        """Wait in a thread."""
        called.append(number)
        reached.set()
        let_go.wait(10)
        return "late"

    lm, engine = scripted_lm([Reply(calls=[Call("slow", {"number": 1})])])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ReAct("question -> answer", [slow], lm=lm).run, "?")
            await anyio.to_thread.run_sync(reached.wait, 5)
            group.cancel_scope.cancel()
    let_go.set()
    await anyio.sleep(0.1)
    assert called == [1]
    assert len(engine.requests) == 1


def test_no_agent_of_dspy_stands_behind_ours() -> None:
    """Trap 19: they go in DSPy 3.5."""
    from dspy.predict.code_act import CodeAct as Theirs

    assert not issubclass(CodeAct, Theirs | dspy.ReAct)
    assert not issubclass(ReAct, dspy.ReAct)


async def test_the_scripted_model_calls_waits_and_counts() -> None:
    """Trap 40: DSPy's own dummy does none of it."""
    lm, engine = scripted_lm([Reply(calls=[Call("echo", {"text": "a"})], delay=0.05, input_tokens=7), "done"])
    started = time.perf_counter()
    result = await ReAct("question -> answer", [echo], lm=lm).run("?")
    assert time.perf_counter() - started >= 0.05
    assert result.usage.input_tokens == 17
    assert result.tool_calls == 1
    assert len(engine.requests) == 2


@pytest.mark.parametrize(("patience", "limit"), [(0, None), (2, 0.8)], ids=["no patience", "a limit below it"])
def test_a_slow_item_of_parallel_work_acts_once(patience: int, limit: float | None) -> None:
    """Trap 32: DSPy runs an item again that takes longer than its patience, 120 s by default, and never less often."""
    acted: list[str] = []

    @tool(effect="once")
    async def act(key: str) -> str:
        """Act, slowly."""
        acted.append(key)
        await anyio.sleep(60 if limit else 1.2)
        return "done"

    def script(request: Request, number: int) -> Reply:
        first = request.messages[0].text or ""
        return Reply(calls=[Call("act", {"key": first})]) if len(request.messages) == 1 else Reply("Done.")

    policy = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
    limits = Limits(seconds=limit)
    agent = ReAct("question -> answer", [act], lm=scripted_lm(script)[0], policy=policy, limits=limits)
    work: Any = dspy.Parallel(num_threads=3, timeout=patience, disable_progress_bar=True)
    found = work([(agent, {"question": str(number)}) for number in range(3)])
    assert [one.answer for one in found] == ["Done."] * 3
    assert sorted(acted) == ["0", "1", "2"]


def test_usage_is_told_by_prediction_in_parallel_work_too() -> None:
    """Trap 33: a tracker around `dspy.Parallel` hears nothing."""
    lm, _ = scripted_lm([Reply(calls=[Call("echo", {"text": "a"})], input_tokens=7), Reply("done", input_tokens=9)])
    agents = [ReAct("question -> answer", [echo], lm=scripted_lm([Reply("x", input_tokens=7)])[0]) for _ in range(2)]
    agents.append(ReAct("question -> answer", [echo], lm=lm))
    with dspy.context(track_usage=True):
        work: Any = dspy.Parallel(num_threads=3, disable_progress_bar=True)
        found = work([(agent, {"question": "?"}) for agent in agents])
    assert [one.get_lm_usage()["scripted/model"]["prompt_tokens"] for one in found] == [7, 7, 16]
