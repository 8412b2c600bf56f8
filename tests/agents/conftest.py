"""What the agents' tests share: a recording sink and the three kinds of agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from corral.agents import Agent, CodeAct, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Event
from corral.sandbox import MontyProvider


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def call_reply(kind: str, calls: list[tuple[str, Mapping[str, Any]]]) -> Reply:
    """What a model of this kind of agent says to call tools."""
    if kind == "react":
        return Reply(calls=[Call(name, arguments) for name, arguments in calls])
    if kind == "text":
        import json

        written = json.dumps({"tool_calls": [{"name": name, "args": dict(given)} for name, given in calls]})
        return Reply(
            text=f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## tool_calls ## ]]\n{written}\n\n[[ ## completed ## ]]"
        )
    lines = [f"print({name}(**{dict(given)!r}))" for name, given in calls]
    return Reply(calls=[Call("python", {"code": "\n".join(lines)})])


Build = Callable[..., tuple[Agent, Any]]


@pytest.fixture(params=["react", "text", "code"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(kind: str) -> Build:
    """Makes an agent of the kind under test on a script, with its engine; code runs in Monty, which is everywhere."""

    def make(script: Any, tools: Any = (), *, signature: str = "question -> answer", **options: Any) -> Any:
        lm, engine = scripted_lm(script, native=kind != "text")
        if kind == "code":
            options.setdefault("sandbox", MontyProvider())
            return CodeAct(signature, tools, lm=lm, **options), engine
        return ReAct(signature, tools, lm=lm, **options), engine

    return make
