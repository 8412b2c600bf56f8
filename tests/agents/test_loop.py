import asyncio
from typing import Annotated

import anyio
import anyio.lowlevel
import dspy
import pytest
from annotated_types import Ge, Le

from corral.agents import DefinitionError, ReAct, StopReason
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Limits, MessageAdded, Policy, RunFinished, SecurityPolicy, ToolReturned
from corral.tools import tool

from .conftest import Build, Recorder, call_reply

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_an_agent_calls_a_tool_and_answers_from_its_result(kind: str, build: Build) -> None:
    agent, engine = build([call_reply(kind, [("add", {"a": 1, "b": 2})]), "It is 3."], [add])
    result = await agent.run("1 + 2?")
    assert result.ok
    assert result.outputs == {"answer": "It is 3."}
    assert result.steps == 2
    last = engine.requests[1].messages[-1]
    assert "3" in str(last.parts)


async def test_outputs_are_validated_and_the_error_goes_back_to_the_model(recorder: Recorder) -> None:
    script = [
        Reply(calls=[Call("submit", {"total": "many"})]),
        Reply(calls=[Call("submit", {"total": 7})]),
    ]
    lm, engine = scripted_lm(script)
    result = await ReAct("question -> total: int", lm=lm, sinks=[recorder]).run("?")
    assert result.outputs == {"total": 7}
    told = engine.requests[1].messages[-1].parts[0]
    assert told.is_error
    assert "total" in told.content[0].text


async def test_plain_json_text_is_accepted_for_typed_outputs() -> None:
    lm, _ = scripted_lm(['```json\n{"total": 7, "names": ["a"]}\n```'])
    result = await ReAct("question -> total: int, names: list[str]", lm=lm).run("?")
    assert result.outputs == {"total": 7, "names": ["a"]}


async def test_text_that_is_no_answer_is_sent_back() -> None:
    lm, engine = scripted_lm(["I will think.", Reply(calls=[Call("submit", {"total": 7})])])
    result = await ReAct("question -> total: int", lm=lm).run("?")
    assert result.outputs == {"total": 7}
    assert "submit" in (engine.requests[1].messages[-1].text or "")


async def test_calls_of_one_turn_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(3)

    @tool(effect="read")
    async def meet(name: str) -> str:
        """Wait for the other two."""
        await meeting.wait()
        return name

    lm, _ = scripted_lm([Reply(calls=[Call("meet", {"name": n}) for n in "abc"]), "done"])
    with anyio.fail_after(5):
        result = await ReAct("question -> answer", [meet], lm=lm).run("?")
    assert result.tool_calls == 3


async def test_a_tool_that_may_not_overlap_runs_alone_and_in_order() -> None:
    running = 0
    order: list[str] = []

    @tool(effect="read", parallel=False)
    async def alone(name: str) -> str:
        """Run alone."""
        nonlocal running
        running += 1
        assert running == 1
        await anyio.lowlevel.checkpoint()
        running -= 1
        order.append(name)
        return name

    lm, _ = scripted_lm([Reply(calls=[Call("alone", {"name": n}) for n in "abc"]), "done"])
    await ReAct("question -> answer", [alone], lm=lm).run("?")
    assert order == ["a", "b", "c"]


async def test_a_bad_call_is_answered_to_the_model_and_the_run_goes_on(recorder: Recorder) -> None:
    calls = [Call("ad", {}), Call("add", {"a": "x"}), Call("add", {"a": 1, "b": 2})]
    lm, _ = scripted_lm([Reply(calls=calls), "done"])
    result = await ReAct("question -> answer", [add], lm=lm, sinks=[recorder]).run("?")
    outcomes = {event.call_id: event for event in recorder.of(ToolReturned)}
    assert result.ok
    assert "did you mean add" in outcomes["call_0_0"].content
    assert "'b'" in outcomes["call_0_1"].content
    assert outcomes["call_0_2"].content == "3"
    assert result.tool_calls == 1


async def test_a_tool_that_raises_is_told_in_one_line_without_a_traceback() -> None:
    @tool(effect="read")
    def broken() -> str:
        """Fail."""
        raise ValueError("no such thing")

    lm, engine = scripted_lm([Reply(calls=[Call("broken")]), "done"])
    await ReAct("question -> answer", [broken], lm=lm).run("?")
    part = engine.requests[1].messages[-1].parts[0]
    assert part.is_error
    assert "no such thing" in part.content[0].text
    assert "Traceback" not in part.content[0].text
    assert __file__ not in part.content[0].text


async def test_nothing_after_submit_is_done_and_every_call_has_an_answer() -> None:
    done: list[str] = []

    @tool(effect="read")
    def note(text: str) -> str:
        """Note it."""
        done.append(text)
        return "noted"

    calls = [Call("note", {"text": "before"}), Call("submit", {"total": 1}), Call("note", {"text": "after"})]
    lm, _ = scripted_lm([Reply(calls=calls)])
    result = await ReAct("question -> total: int", [note], lm=lm).run("?")
    assert done == ["before"]
    assert result.outputs == {"total": 1}
    answered = [part.id for part in result.messages[-1].parts]
    assert answered == ["call_0_0", "call_0_1", "call_0_2"]


async def test_the_prompt_prefix_never_changes(kind: str, build: Build) -> None:
    agent, engine = build([call_reply(kind, [("add", {"a": 1, "b": 2})])] * 4 + ["done"], [add])
    await agent.run("?")
    for earlier, later in zip(engine.requests, engine.requests[1:], strict=False):
        assert later.system == earlier.system
        assert later.tools == earlier.tools
        assert later.messages[: len(earlier.messages)] == earlier.messages


async def test_long_observations_keep_head_and_tail() -> None:
    @tool(effect="read")
    def long() -> str:
        """Return much."""
        return "A" * 5000 + "Z" * 5000

    lm, engine = scripted_lm([Reply(calls=[Call("long")]), "done"])
    await ReAct("question -> answer", [long], lm=lm, observation_chars=300).run("?")
    text = engine.requests[1].messages[-1].parts[0].content[0].text
    assert text.startswith("AAAA")
    assert text.endswith("ZZZZ")
    assert "9700 characters left out" in text


async def test_the_events_hold_the_whole_conversation(kind: str, build: Build, recorder: Recorder) -> None:
    agent, _ = build([call_reply(kind, [("add", {"a": 1, "b": 2})]), "done"], [add], sinks=[recorder])
    result = await agent.run("?")
    assert len(recorder.of(MessageAdded)) == len(result.messages)
    assert [event.seq for event in recorder.events] == list(range(1, len(recorder.events) + 1))
    assert {event.run_id for event in recorder.events} == {result.run_id}
    assert isinstance(recorder.events[-1], RunFinished)


async def test_a_cancelled_run_is_recorded_as_cancelled(recorder: Recorder) -> None:
    started = anyio.Event()

    @tool(effect="read")
    async def hang() -> str:
        """Hang."""
        started.set()
        await anyio.sleep_forever()
        return ""

    lm, _ = scripted_lm([Reply(calls=[Call("hang")])])
    running = asyncio.create_task(ReAct("question -> answer", [hang], lm=lm, sinks=[recorder]).run("?"))
    with anyio.fail_after(5):
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert recorder.of(RunFinished)[0].reason == "cancelled"


async def test_a_refused_model_ends_the_run_as_denied() -> None:
    lm, engine = scripted_lm(["hello"])
    result = await ReAct("question -> answer", lm=lm, policy=Policy()).run("?")
    assert result.reason is StopReason.DENIED
    assert "resource: model:scripted/model" in result.detail
    assert engine.requests == []


async def test_a_model_that_stays_silent_is_asked_again_until_the_limit() -> None:
    lm, engine = scripted_lm([""])
    result = await ReAct("question -> answer", lm=lm, limits=Limits(steps=4)).run("?")
    assert result.reason is StopReason.STEPS
    assert len(engine.requests) == 4


def test_wrong_signatures_and_inputs_are_one_sentence() -> None:
    with pytest.raises(DefinitionError, match="signature 'nonsense'"):
        ReAct("nonsense")
    lm, _ = scripted_lm(["x"])
    agent = ReAct("question, year: int -> answer", lm=lm)
    with pytest.raises(DefinitionError, match="missing input 'year'"):
        agent.run_sync(question="?")
    with pytest.raises(DefinitionError, match="input 'year'"):
        agent.run_sync(question="?", year="soon")
    with pytest.raises(DefinitionError, match="by name: question, year"):
        agent.run_sync("?")


async def test_without_a_model_the_run_says_how_to_name_one() -> None:
    with pytest.raises(DefinitionError, match="pass lm="):
        await ReAct("question -> answer").run("?")


async def test_a_tool_may_not_take_a_name_that_the_loop_needs() -> None:
    @tool(effect="read")
    def submit(answer: str) -> str:
        """Something else."""
        return answer

    lm, _ = scripted_lm(["x"])
    with pytest.raises(DefinitionError, match="'submit'"):
        await ReAct("question -> answer: int", [submit], lm=lm).run("?")


async def test_runs_of_one_agent_go_on_at_the_same_time_with_one_set_of_tools() -> None:
    lm, _ = scripted_lm(lambda request, _: Reply(text=request.messages[0].text or ""))
    agent = ReAct("question -> answer", [add], lm=lm)
    async with anyio.create_task_group() as group:
        results: list[str] = []

        async def one(number: int) -> None:
            result = await agent.run(str(number))
            assert result.outputs is not None
            results.append(result.outputs["answer"])

        for number in range(50):
            group.start_soon(one, number)
    assert sorted(results, key=int) == [str(number) for number in range(50)]
    assert not agent.toolbox.is_open


async def test_constraints_of_a_field_are_enforced_and_not_only_told() -> None:
    class Rated(dspy.Signature):
        """Rate it."""

        question: str = dspy.InputField()
        rating: Annotated[int, Ge(1), Le(5)] = dspy.OutputField()

    lm, engine = scripted_lm([Reply(calls=[Call("submit", {"rating": n})]) for n in (9, 4)])
    result = await ReAct(Rated, lm=lm).run("?")
    assert result.outputs == {"rating": 4}
    assert engine.requests[0].tools[0].parameters["properties"]["rating"]["maximum"] == 5


@pytest.mark.parametrize(
    "given",
    [
        {"policy": "policy.yaml"},
        {"limits": {"steps": 2}},
        {"memory": True},
        {"approver": lambda request: True},
        {"tools": add},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_wrong_collaborator_is_said_at_once(given: dict[str, object]) -> None:
    (name,) = given
    with pytest.raises(DefinitionError, match=f"^{name}=.*it takes "):
        ReAct("question -> answer", **given)  # pyright: ignore[reportArgumentType]


async def test_an_answer_that_was_cut_off_at_its_longest_says_so() -> None:
    lm, _ = scripted_lm([Reply("It is a truth universally", finish_reason="length")])
    result = await ReAct("question -> answer", lm=lm).run("?")
    assert (result.reason, result.outputs) == (StopReason.DONE, {"answer": "It is a truth universally"})
    assert "cut off" in result.detail
