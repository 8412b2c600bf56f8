"""DSPy's optimisers make agents of both kinds better, and a saved one behaves the same in a fresh process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request, ServerError

from corral.agents import Agent, CodeAct, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.sandbox import MontyProvider
from corral.tools import tool

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima"}


@tool(effect="read")
def capital(country: str) -> str:
    """The capital of a country."""
    return CAPITALS.get(country, "?")


def weak(request: Request, number: int) -> Reply:
    """A model that looks things up only if it was told or shown to."""
    last = request.messages[-1]
    if last.role == "tool":
        return Reply(text=last.parts[0].content[0].text.strip())  # type: ignore[union-attr]
    country = (last.text or "").rsplit(" ", 1)[-1]
    taught = len(request.messages) > 1 or "look it up" in str(request.system)
    if not taught and country != "France":
        return Reply("Paris?")
    if any(offer.name == "python" for offer in request.tools):
        return Reply(calls=[Call("python", {"code": f"print(capital({country!r}))"})])
    return Reply(calls=[Call("capital", {"country": country})])


def make(kind: str) -> Agent:
    lm, _ = scripted_lm(weak)
    if kind == "code":
        return CodeAct("question -> answer", [capital], lm=lm, sandbox=MontyProvider())
    return ReAct("question -> answer", [capital], lm=lm)


def examples() -> list[dspy.Example]:
    return [dspy.Example(question=f"capital of {k}", answer=v).with_inputs("question") for k, v in CAPITALS.items()]


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return prediction.answer == example.answer


def exact_with_feedback(gold: Any, pred: Any, trace: Any = None, *_: Any) -> dspy.Prediction:
    right = float(pred.answer == gold.answer)
    return dspy.Prediction(score=right, feedback="right" if right else f"it is {gold.answer}: look it up")


def score(agent: Agent) -> float:
    return dspy.Evaluate(devset=examples(), metric=exact, display_progress=False)(agent).score


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=["react", "code"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


FRESH = """
import sys
from tests.agents.test_optimizers import make, score
agent = make(sys.argv[1])
agent.load(sys.argv[2])
print(score(agent))
"""


def score_in_a_fresh_process(kind: str, path: Path) -> float:
    ended = subprocess.run(
        [sys.executable, "-c", FRESH, kind, str(path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return float(ended.stdout.split()[-1])


def test_bootstrapped_demos_make_it_better_here_and_in_a_fresh_process(kind: str, tmp_path: Path) -> None:
    agent = make(kind)
    assert score(agent) == 25.0
    optimizer = dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=1, max_labeled_demos=0)
    better = optimizer.compile(agent, trainset=examples())
    assert score(better) == 100.0
    assert score(agent) == 25.0
    better.save(tmp_path / "agent.json")
    assert score_in_a_fresh_process(kind, tmp_path / "agent.json") == 100.0


def test_gepa_rewrites_the_instructions_and_nothing_of_the_tools(kind: str, tmp_path: Path) -> None:
    agent = make(kind)
    assert score(agent) == 25.0
    reflection, _ = scripted_lm([json.dumps({"new_instruction": "Never guess: look it up with your tools."})])
    optimizer = dspy.GEPA(
        metric=exact_with_feedback, max_metric_calls=40, reflection_lm=reflection, reflection_minibatch_size=2,
        num_threads=1, track_stats=True,
    )  # fmt: skip
    better = optimizer.compile(agent, trainset=examples(), valset=examples())
    assert len(better.detailed_results.candidates) > 1
    assert "look it up" in better.predict.signature.instructions
    assert score(better) == 100.0
    better.save(tmp_path / "agent.json")
    assert "The capital of a country" not in (tmp_path / "agent.json").read_text()
    assert score_in_a_fresh_process(kind, tmp_path / "agent.json") == 100.0


@pytest.mark.parametrize("says", ["???", "", None], ids=["garbage", "nothing", "down"])
def test_gepa_ends_where_its_proposer_never_says_anything_useful(kind: str, says: str | None) -> None:
    """Trap 6: failures of the proposer are swallowed; the trials must run out all the same, and nothing be lost."""
    agent = make(kind)
    reflection, engine = scripted_lm([Reply(error=ServerError("down")) if says is None else says])
    optimizer = dspy.GEPA(
        metric=exact_with_feedback, max_metric_calls=20, reflection_lm=reflection, reflection_minibatch_size=2,
        num_threads=1, track_stats=True,
    )  # fmt: skip
    found: list[Any] = []
    working = threading.Thread(
        target=lambda: found.append(optimizer.compile(agent, trainset=examples(), valset=examples())), daemon=True
    )
    working.start()
    working.join(60)
    assert not working.is_alive()
    (same,) = found
    assert engine.requests
    assert len(same.detailed_results.candidates) == 1
    assert same.predict.signature.instructions == agent.predict.signature.instructions
    assert score(same) == 25.0


def test_an_optimised_agent_never_loses_or_restores_tools(kind: str, tmp_path: Path) -> None:
    """Traps 5 and 6: ReActV2 keeps its tool list inside its instructions."""
    agent = make(kind)
    agent.predict.signature = agent.predict.signature.with_instructions("Short.")
    agent.save(tmp_path / "agent.json")

    @tool(effect="read")
    def other(country: str) -> str:
        """Another tool."""
        return "x"

    lm, engine = scripted_lm(["done"])
    loaded = CodeAct if kind == "code" else ReAct
    again = loaded("question -> answer", [other], lm=lm, sandbox=MontyProvider())
    again.load(tmp_path / "agent.json")
    again(question="?")
    offered = str(engine.requests[0].system) + str(engine.requests[0].tools)
    assert offered.startswith("Short.")
    assert "other" in offered
    assert "capital" not in offered


def test_saved_state_is_json_without_keys_or_pickles(tmp_path: Path) -> None:
    """Trap 38."""
    agent = ReAct("question -> answer", [capital], lm=dspy.LM("openai/m", api_key="sk-secret", cache=False))
    agent.save(tmp_path / "agent.json")
    written = (tmp_path / "agent.json").read_text()
    assert "sk-secret" not in written
    json.loads(written)


def test_an_evaluation_of_many_threads_runs_each_example_once() -> None:
    """Traps 32 to 34: DSPy scores async modules 0, or runs slow ones twice."""
    asked: list[str] = []

    def note(request: Request, number: int) -> Reply:
        asked.append(request.messages[-1].text or "")
        return weak(request, number)

    lm, _ = scripted_lm(note)
    agent = ReAct("question -> answer", [capital], lm=lm)
    found = dspy.Evaluate(devset=examples(), metric=exact, num_threads=4, display_progress=False)(agent)
    assert found.score == 25.0
    assert sorted(text for text in asked if text) == sorted(example.question for example in examples())
