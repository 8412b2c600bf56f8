"""What a model says to itself, where a server leaves it in the answer, is neither an answer nor a call."""

from __future__ import annotations

import pytest

from corral.agents import CodeAct, ReAct, StopReason
from corral.agents.testing import Reply, scripted_lm
from corral.sandbox import MontyProvider


@pytest.mark.parametrize(
    "said",
    [
        "<think>\nFrance: Paris. Or Lyon?\n</think>\n\nParis",
        "France: Paris. Or Lyon?\n</think>\n\nParis",
        "\n<think></think>Paris",
        "<think>a <think> b</think>\nParis",
    ],
)
@pytest.mark.parametrize("native", [True, False])
async def test_an_answer_is_what_comes_after_it(said: str, native: bool) -> None:
    lm, _ = scripted_lm([said], native=native)
    result = await ReAct("question -> answer", lm=lm).run("Capital of France?")
    assert result.outputs == {"answer": "Paris"}


async def test_a_typed_answer_after_it_is_read() -> None:
    lm, _ = scripted_lm(['<think>3 + 4, so {"total": 8}? No.</think>\n{"total": 7}'])
    assert (await ReAct("question -> total: int", lm=lm).run("3 + 4?")).outputs == {"total": 7}


async def test_code_in_it_is_not_run() -> None:
    lm, engine = scripted_lm(["<think>Perhaps\n```python\nprint(1)\n```\n</think>\n\nNo need.", "?"])
    result = await CodeAct("question -> answer", lm=lm, sandbox=MontyProvider()).run("?")
    assert (result.outputs, result.tool_calls, len(engine.requests)) == ({"answer": "No need."}, 0, 1)


async def test_nothing_but_it_is_no_answer() -> None:
    lm, _ = scripted_lm(["<think>Hm", "Paris"])
    result = await ReAct("question -> answer", lm=lm).run("Capital of France?")
    assert (result.outputs, result.repairs) == ({"answer": "Paris"}, 1)


@pytest.mark.parametrize("said", ["Write </think> at the end.", "The tag <think> begins it, </think> ends it."])
async def test_an_answer_about_it_stays_whole(said: str) -> None:
    lm, _ = scripted_lm([Reply(said)])
    result = await ReAct("question -> answer", lm=lm).run("How is it written?")
    assert (result.reason, result.outputs) == (StopReason.DONE, {"answer": said})
