"""Tools that were written for LangChain."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import InjectedToolArg, StructuredTool, ToolException, tool
from pydantic import BaseModel, Field

from corral.policy import Action, Denied, Gate, Integrity, Policy, SecurityPolicy
from corral.tools import BadArguments, LangChainTools, Toolbox, ToolConfigError

from .conftest import Perform


@tool
def area(width: float, height: float, secret: Annotated[str, InjectedToolArg] = "") -> float:
    """The area of a field."""
    return width * height


class Animal(BaseModel):
    name: str = Field(description="As it is called.")
    legs: int = 4


async def describe(name: str, legs: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": f"{name} has"}, {"type": "text", "text": f"{legs} legs"}]


described = StructuredTool.from_function(
    coroutine=describe, name="describe", description="Describe.", args_schema=Animal
)


@tool
def fail(how: str) -> str:
    """Fail."""
    raise ToolException("the barn is closed") if how == "said" else ValueError("odd")


async def test_they_are_called_through_the_gate_with_their_own_schemas(perform: Perform) -> None:
    async with Toolbox(LangChainTools(area, described, name="lc", read_only=["area"])) as box:
        first, second = box.tools
        assert (first.name, first.resource, first.read_only) == ("lc_area", "tool:lc/area", True)
        assert (second.resource, second.read_only, second.effect.value) == ("tool:lc/describe", False, "once")
        assert set(first.input_schema["properties"]) == {"width", "height"}  # nothing that LangChain injects
        assert first.description == "The area of a field."
        said = await perform(first, {"width": 2, "height": 3})
        assert (said.text, said.structured) == ("6.0", 6.0)
        assert said.label.integrity is Integrity.UNTRUSTED
        assert (await perform(second, {"name": "Ada", "legs": 3})).text == "Ada has\n3 legs"
        with pytest.raises(BadArguments):
            second.check({"legs": "many"})
        gate = Gate(Policy(rules=[SecurityPolicy(resource="tool:lc/area", actions=["call"])]))
        action = Action(second.resource, "call", arguments={"name": "Ada"})
        with pytest.raises(Denied):
            await gate.perform(action, lambda admission: second.call({"name": "Ada"}, admission))


async def test_one_that_fails_is_an_observation(perform: Perform) -> None:
    (failing,) = await LangChainTools(fail).tools()
    assert (await perform(failing, {"how": "said"})).text == "ToolException: the barn is closed"
    said = await perform(failing, {"how": "other"})
    assert (said.is_error, said.text) == (True, "ValueError: odd")


async def test_no_tracer_sees_the_arguments(perform: Perform, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "x")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://192.0.2.1:9")
    seen: list[Any] = []

    class Looks(BaseCallbackHandler):
        def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
            seen.append(args)

    from langchain_core.runnables.config import var_child_runnable_config

    token = var_child_runnable_config.set({"callbacks": [Looks()]})
    try:
        (made,) = await LangChainTools(area).tools()
        assert (await perform(made, {"width": 1, "height": 1})).text == "1.0"
    finally:
        var_child_runnable_config.reset(token)
    assert seen == []


def test_what_is_no_langchain_tool_is_said() -> None:
    with pytest.raises(ToolConfigError, match="no LangChain tool"):
        LangChainTools(print)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ToolConfigError, match="two tools"):
        LangChainTools(area, area)
    with pytest.raises(ToolConfigError, match="which it has not"):
        LangChainTools(area, read_only=["other"])
