"""`dspy.RLM` as an agent: its models, its code and its tools are held like any other's."""

from __future__ import annotations

import time
from itertools import pairwise

import anyio
import pytest

from corral.agents import RLM, StopReason
from corral.agents.testing import scripted_lm
from corral.policy import Limits, ModelCalled, Policy, RunFinished, SecurityPolicy
from corral.sandbox import DockerProvider
from corral.tools import tool

from .conftest import Recorder

pytestmark = pytest.mark.docker


@pytest.fixture
def sandbox(docker_image: None) -> DockerProvider:
    return DockerProvider()


def turn(code: str) -> str:
    return f"[[ ## reasoning ## ]]\nGo on.\n\n[[ ## code ## ]]\n```python\n{code}\n```\n\n[[ ## completed ## ]]"


@tool(effect="read")
def double(n: int) -> int:
    """Twice as much."""
    return 2 * n


async def test_code_reads_the_input_and_asks_the_model_about_parts(sandbox: DockerProvider, recorder: Recorder) -> None:
    script = [
        turn("print(len(text), double(n=21))"),
        turn("print(llm_query('what is ' + text[:3]))"),
        "a fruit",
        turn("SUBMIT(text.count('a'))"),
    ]
    lm, engine = scripted_lm(script)
    agent = RLM("text -> count: int", [double], lm=lm, sandbox=sandbox, sinks=[recorder], max_iters=5)
    with anyio.fail_after(60):
        result = await agent.run("banana " * 1000)
    await sandbox.close()
    assert result.outputs == {"count": 3000}
    assert result.steps == len(engine.requests) == len(recorder.of(ModelCalled)) == 4
    assert result.tool_calls == 5  # three cells, a tool, and the cell in which DSPy sets its own functions up
    assert "42" in str(engine.requests[1].messages)
    assert recorder.of(RunFinished)[0].reason == "done"


@pytest.mark.filterwarnings("ignore:.*lm15:DeprecationWarning")  # DSPy's own sub-agents call its LM in its own old way
async def test_its_code_starts_sub_agents_which_are_held_like_itself(
    sandbox: DockerProvider, recorder: Recorder
) -> None:
    look = (
        "import dspy\nparts = text.split()\nprint(llm_query_batched(['colour of ' + part for part in parts[:2]]))\n"
        "print(dspy.Predict('fruit -> taste')(fruit=parts[0]).taste)"
    )
    script = [
        turn(look),
        "yellow",
        "red",
        "[[ ## taste ## ]]\nsweet\n\n[[ ## completed ## ]]",
        turn("found = dspy.RLM('context, query -> answer')(context=text, query='how many a?')\nprint(found.answer)"),
        turn("parts = 'of its own'\nSUBMIT(answer=str(context.count('a')))"),
        turn("SUBMIT(int(found.answer) + len(parts))"),
    ]
    lm, engine = scripted_lm(script)
    agent = RLM("text -> count: int", lm=lm, sandbox=sandbox, sinks=[recorder], max_iters=5)
    with anyio.fail_after(60):
        result = await agent.run("banana apple")
    assert result.outputs == {"count": 4 + 2}, result.detail
    assert result.steps == len(engine.requests) == len(recorder.of(ModelCalled)) == 7
    seen = str(engine.requests[4].messages)
    assert "yellow" in seen
    assert "sweet" in seen
    await sandbox.close()


async def test_the_event_loop_is_free_while_its_code_runs(sandbox: DockerProvider) -> None:
    lm, _ = scripted_lm([turn("import time; time.sleep(1.5)"), turn("SUBMIT(1)")])
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await anyio.sleep(0.02)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            assert (await RLM("text -> count: int", lm=lm, sandbox=sandbox).run("x")).ok
            group.cancel_scope.cancel()
    await sandbox.close()
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 1.2


async def test_limits_and_policies_hold_it(sandbox: DockerProvider) -> None:
    lm, engine = scripted_lm([turn("print(1)")])
    with anyio.fail_after(60):
        limited = await RLM("text -> count: int", lm=lm, sandbox=sandbox, limits=Limits(steps=2)).run("x")
        assert limited.reason is StopReason.STEPS
        assert len(engine.requests) == 2
        policy = Policy(rules=[SecurityPolicy(resource="code:python", actions=["execute"])])
        denied = await RLM("text -> count: int", lm=lm, sandbox=sandbox, policy=policy).run("x")
    await sandbox.close()
    assert denied.reason is StopReason.DENIED
    assert len(engine.requests) == 2
