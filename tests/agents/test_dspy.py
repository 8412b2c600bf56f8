"""An agent is a DSPy module: called, evaluated, optimised, saved and loaded as one."""

from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request

from corral.agents import ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.tools import tool

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima"}


@tool(effect="read")
def capital(country: str) -> str:
    """The capital of a country."""
    return CAPITALS.get(country, "?")


def knows_only_with_demos(request: Request, number: int) -> Reply:
    """A model that uses the tool only once it was shown how, as a weak one would."""
    last = request.messages[-1]
    if last.role == "tool":
        return Reply(text=last.parts[0].content[0].text)
    country = (last.text or "").rsplit(" ", 1)[-1]
    taught = len(request.messages) > 1 or "look it up" in str(request.system)
    return Reply(calls=[Call("capital", {"country": country})]) if taught or country == "France" else Reply("Paris?")


def examples() -> list[dspy.Example]:
    return [dspy.Example(question=f"capital of {k}", answer=v).with_inputs("question") for k, v in CAPITALS.items()]


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return prediction.answer == example.answer


def test_evaluate_runs_an_agent_in_its_threads() -> None:
    lm, _ = scripted_lm(knows_only_with_demos)
    agent = ReAct("question -> answer", [capital], lm=lm)
    score = dspy.Evaluate(devset=examples(), metric=exact, num_threads=2, display_progress=False)(agent).score
    assert score == 25.0


def test_a_bootstrapped_agent_is_better_and_stays_so_after_save_and_load(tmp_path: Path) -> None:
    lm, _ = scripted_lm(knows_only_with_demos)
    agent = ReAct("question -> answer", [capital], lm=lm)
    evaluate = dspy.Evaluate(devset=examples(), metric=exact, display_progress=False)
    optimizer = dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=1, max_labeled_demos=0)
    better = optimizer.compile(agent, trainset=examples())
    assert len(better.predict.demos) == 1
    assert evaluate(better).score == 100.0
    better.save(tmp_path / "agent.json")
    loaded = ReAct("question -> answer", [capital], lm=lm)
    loaded.load(tmp_path / "agent.json")
    assert evaluate(loaded).score == 100.0


def test_demos_and_traces_are_snapshots() -> None:
    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", lm=lm)
    with dspy.context(trace=[]):
        agent(question="?")
        ((predict, inputs, prediction),) = dspy.settings.trace
    assert predict is agent.predict
    assert inputs == {"question": "?"}
    assert prediction.answer == "hi"


async def test_acall_gives_a_prediction_and_takes_the_lm_from_the_context() -> None:
    lm, _ = scripted_lm(["hi"])
    with dspy.context(lm=lm):
        prediction = await ReAct("question -> answer").acall(question="?")
    assert prediction.answer == "hi"


def test_a_module_that_holds_an_agent_finds_its_predictor() -> None:
    class Program(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.agent = ReAct("question -> answer", [capital])

        def forward(self, question: str) -> Any:
            return self.agent(question=question)

    lm, _ = scripted_lm(["hi"])
    program = Program()
    assert [name for name, _ in program.named_predictors()] == ["agent.predict"]
    with dspy.context(lm=lm):
        assert program(question="?").answer == "hi"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_saved_state_names_no_tools(tmp_path: Path) -> None:
    agent = ReAct("question -> answer", [capital])
    agent.save(tmp_path / "agent.json")
    assert "capital" not in (tmp_path / "agent.json").read_text()
