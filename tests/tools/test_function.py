"""Functions as tools: what is read from hints and docstrings, and what the function is given."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from corral.tools import Effect, Observation, Tool, ToolConfigError, tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


class Unit(Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


class Place(BaseModel):
    name: str
    height: Annotated[float, Field(description="metres", ge=0)] = 0


@dataclass
class Report:
    place: Place
    day: date


@tool(effect="read", timeout=5, parallel=False)
def weather(
    place: Place, unit: Unit = Unit.CELSIUS, days: Annotated[int, Field(ge=1, description="whole days")] = 1
) -> Report:
    """Tell the weather.

    In no great detail.

    Args:
        place: Where, with its height in metres.
        unit (Unit): Of temperatures.
        days: Said otherwise in the hint.

    Returns:
        The place again, and the day.
    """
    assert isinstance(place, Place)
    assert isinstance(unit, Unit)
    return Report(place, date(2026, 1, 1) + timedelta(days=days))


def plain(text: str) -> str:
    return text.upper()


def test_hints_and_docstring_make_the_schema() -> None:
    schema = weather.input_schema
    assert (
        weather.description == "Tell the weather.\n\nIn no great detail.\n\nReturns:\n    The place again, and the day."
    )
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["place"]["description"] == "Where, with its height in metres."
    assert schema["properties"]["unit"]["default"] == "C"
    assert schema["$defs"]["Unit"]["enum"] == ["C", "F"]
    assert schema["$defs"]["Place"]["properties"]["height"] == {
        "default": 0,
        "description": "metres",
        "minimum": 0,
        "type": "number",
    }
    assert schema["properties"]["days"] == {"default": 1, "description": "whole days", "minimum": 1, "type": "integer"}


def test_what_the_decorator_says_is_kept() -> None:
    assert (weather.effect, weather.read_only, weather.timeout, weather.parallel) == (Effect.READ, True, 5, False)
    assert (tool(plain).effect, tool(plain).read_only) == (Effect.ONCE, False)
    assert tool(name="shout", read_only=True)(plain).read_only
    assert tool(name="shout")(plain).resource == "tool:local/shout"


async def test_the_function_gets_values_of_its_types(perform: Perform) -> None:
    seen = await perform(weather, {"place": {"name": "Bern", "height": 540}, "unit": "F", "days": 2})
    assert seen.structured == {"place": {"name": "Bern", "height": 540.0}, "day": "2026-01-03"}
    assert seen.text == '{"place":{"name":"Bern","height":540.0},"day":"2026-01-03"}'


async def test_a_string_is_shown_as_it_is(perform: Perform) -> None:
    seen = await perform(tool(plain), {"text": "a\nb"})
    assert (seen.text, seen.structured) == ("A\nB", None)


@pytest.mark.parametrize(
    ("value", "text", "structured"),
    [
        (None, "(no output)", None),
        ([1, "é"], '[1,"é"]', [1, "é"]),
        ({"a": {1}}, '{"a":[1]}', {"a": [1]}),
        (b"\xff", "_w==", "_w=="),
        (1.5, "1.5", 1.5),
        (float("nan"), "NaN", "NaN"),
        (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
        (Unit.CELSIUS, "C", "C"),
    ],
)
async def test_other_results_are_shown_as_json(perform: Perform, value: Any, text: str, structured: Any) -> None:
    @tool
    async def give():
        return value

    seen = await perform(give, {})
    assert (seen.text, seen.structured) == (text, structured)


async def test_a_result_unknown_to_json_is_shown_by_its_repr(perform: Perform) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    @tool
    def give():
        return [Odd()]

    assert (await perform(give, {})).structured == ["<odd>"]


async def test_an_observation_passes_and_gets_the_tools_label(perform: Perform) -> None:
    @tool
    def give() -> Observation:
        return Observation("half done", is_error=True)

    assert await perform(give, {}) == Observation("half done", is_error=True, label=give.label)


async def test_parameters_may_be_called_anything(perform: Perform) -> None:
    @tool
    def odd(
        self: int, name: str, args: list[int], kwargs: int, schema: str, model_config: bool, _hidden: int = 3
    ) -> str:
        return f"{self}{name}{args}{kwargs}{schema}{model_config}{_hidden}"

    arguments = {"self": 1, "name": "n", "args": [2], "kwargs": 4, "schema": "s", "model_config": True, "_hidden": 5}
    assert (await perform(odd, arguments)).text == "1n[2]4sTrue5"


async def test_a_default_that_json_cannot_write_still_makes_the_parameter_optional(perform: Perform) -> None:
    marker = object()

    @tool
    def ask(key: Any = marker) -> bool:
        return key is marker

    assert "default" not in ask.input_schema["properties"]["key"]
    assert (await perform(ask, {})).structured is True


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda *args: args, r"'\*args' can't be passed"),
        (lambda **others: others, r"'\*\*others' can't be passed"),
        (lambda a, /: a, "'a' can't be passed"),
    ],
)
def test_parameters_that_one_name_cannot_pass_are_refused(function: Any, problem: str) -> None:
    function.__name__ = "collect"
    with pytest.raises(ToolConfigError, match=f"tool 'collect': the parameter {problem}"):
        tool(function)


def test_functions_that_cannot_be_tools_are_refused_when_decorated() -> None:
    def stream():
        yield 1

    class Opaque:
        pass

    def opaque(value: Opaque) -> None: ...

    def unknown(value: Nowhere) -> None: ...  # noqa: F821  # pyright: ignore

    for function, problem in ((stream, "generator"), (opaque, "no JSON Schema"), (unknown, "can't be resolved")):
        with pytest.raises(ToolConfigError, match=problem):
            tool(function)
    with pytest.raises(ToolConfigError, match="a name is 1 to 64"):
        tool(lambda: 1)


async def test_hints_may_name_what_is_local_to_the_definition(perform: Perform) -> None:
    class Local(BaseModel):
        x: int

    @tool
    def take(value: Local, mode: Literal["a", "b"] = "a") -> int:
        return value.x

    assert (await perform(take, {"value": {"x": 7}})).structured == 7


async def test_methods_partials_and_callable_objects_are_functions_too(perform: Perform) -> None:
    class Counter:
        """Not the description of a call."""

        def add(self, by: int) -> int:
            """Add."""
            return 10 + by

        async def __call__(self, by: int) -> int:
            return 20 + by

    assert (await perform(tool(Counter().add), {"by": 1})).structured == 11
    assert (await perform(tool(name="count")(Counter()), {"by": 1})).structured == 21
    half = functools.partial(plain, text="fixed")
    assert (await perform(tool(name="half")(half), {})).text == "FIXED"


NUMPY = """Move the arm.

Parameters
----------
x, y : float
    Millimetres from
    the origin.
speed : int, optional
    mm/s

Returns
-------
bool
    Whether it arrived.
"""
SPHINX = """Move the arm.

:param x: Millimetres from
    the origin.
:param float y: Millimetres from the origin.
:type x: float
:param speed: mm/s
:returns: Whether it arrived.
"""
GOOGLE = """Move the arm.

Args:
    x (float): Millimetres from
        the origin.
    y: Millimetres from the origin.

    speed (Optional[int]): mm/s
Returns:
    Whether it arrived.
"""


@pytest.mark.parametrize("text", [NUMPY, SPHINX, GOOGLE], ids=["numpy", "sphinx", "google"])
def test_each_style_of_docstring_is_read(text: str) -> None:
    def move(x: float, y: float, speed: int = 1) -> bool: ...

    move.__doc__ = text
    made = tool(move)
    remarks = {name: part["description"] for name, part in made.input_schema["properties"].items()}
    assert remarks == {"x": "Millimetres from the origin.", "y": "Millimetres from the origin.", "speed": "mm/s"}
    assert made.description.startswith("Move the arm.")
    assert "Whether it arrived." in made.description
    assert "mm/s" not in made.description


async def test_tools_of_importable_functions_pickle(perform: Perform) -> None:
    for made, arguments in ((weather, {"place": {"name": "Bern"}}), (tool(plain), {"text": "a"})):
        made.check(arguments)
        again = pickle.loads(pickle.dumps(made))
        assert (await perform(again, arguments)) == (await perform(made, arguments))
        assert copy.deepcopy(made) is made
