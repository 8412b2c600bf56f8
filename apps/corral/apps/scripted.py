"""Scripted tasks: a task file, or a Python function, run by an agent to an outcome that was checked."""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from string import Template
from typing import Any, Protocol

import anyio
from pydantic_core import to_jsonable_python

from corral.agents import Agent, AgentError, AgentFile, DefinitionError, Result, Session
from corral.agents.media import as_json
from corral.apps.attached import attach, picture
from corral.apps.check import Check
from corral.apps.taskfile import TaskFile
from corral.policy import Limits

__all__ = [
    "Outcome",
    "Prompt",
    "PythonTask",
    "Script",
    "ScriptedTask",
    "load_script",
    "outcome_of",
    "read_inputs",
    "unmet_of",
]


@dataclass(frozen=True)
class Outcome:
    """What a scripted task came to.

    Attributes:
        outputs: The last turn's values by name, or what the function returned; None if there are none.
        results: The runs of it, in their order; a function keeps its own to itself.
        unmet: What was expected and is not so, a sentence each.
    """

    outputs: dict[str, Any] | None
    results: tuple[Result, ...]
    unmet: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.outputs is not None and not self.unmet and all(result.ok for result in self.results)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong, a sentence each, for a person."""
        ended = [result.detail or _why(result) for result in self.results if not result.ok]
        return (*ended, *(f"not as expected: {unmet}" for unmet in self.unmet))


class Script(Protocol):
    """What may be run by an agent, with inputs by name."""

    def agent(self, folder: Path) -> AgentFile | None:
        """The agent that it is for, whose files are named from `folder`; None for any."""
        ...

    async def run(self, agent: Agent, inputs: Mapping[str, Any]) -> Outcome: ...


@dataclass(frozen=True)
class Prompt:
    """A text as a script, with the pictures that belong to it."""

    text: str
    pictures: tuple[Path, ...] = ()

    def agent(self, folder: Path) -> AgentFile | None:
        return None

    async def run(self, agent: Agent, inputs: Mapping[str, Any]) -> Outcome:
        """Run the text as the one input that is not given by name.

        Raises:
            DefinitionError: The signature has other inputs, or a file is no picture.
        """
        free = [name for name in agent.signature.inputs if name not in inputs]
        if len(free) != 1:
            names = ", ".join(agent.signature.inputs)
            raise DefinitionError(f"the task's text is one input; the signature has {names}: give --input for the rest")
        text = [self.text, *map(picture, self.pictures)] if self.pictures else self.text
        result = await agent.run(**attach(inputs, agent.signature.inputs, Path()), **{free[0]: text})
        return outcome_of((result,), result.outputs)


@dataclass(frozen=True)
class ScriptedTask:
    """A task file as a script."""

    file: TaskFile

    def agent(self, folder: Path) -> AgentFile | None:
        return self.file.agent_file(folder)

    async def run(self, agent: Agent, inputs: Mapping[str, Any]) -> Outcome:
        """Ask turn by turn, and stop where one fails or is not as expected.

        Raises:
            DefinitionError: The task has no such input, or the agent can't take it.
        """
        file = self.file
        values = file.with_inputs(inputs)
        held = agent.within(file.limits)
        if not file.turns:
            result = await held.run(**attach(values, agent.signature.inputs, Path()))
            return outcome_of((result,), result.outputs, unmet_of(file.expect, result.outputs, (result,)))
        session = Session(held)
        results: list[Result] = []
        saved: dict[str, Any] = {}
        for step in file.turns:
            known = {name: _text(value) for name, value in (values | saved).items()}
            result = await session.run(Template(step.task).substitute(known))
            results.append(result)
            unmet = unmet_of(step.expect, result.outputs, (result,))
            if unmet or not result.ok:
                return outcome_of(tuple(results), result.outputs, unmet)
            if step.save:
                saved[step.save] = _value(result.outputs or {})
        return outcome_of(
            tuple(results),
            results[-1].outputs,
            unmet_of(file.expect, saved | (results[-1].outputs or {}), tuple(results)),
        )


@dataclass(frozen=True)
class PythonTask:
    """A function `task(agent, **inputs)`, async or not, that returns outputs by name, one value, or nothing."""

    function: Any

    def agent(self, folder: Path) -> AgentFile | None:
        return None

    async def run(self, agent: Agent, inputs: Mapping[str, Any]) -> Outcome:
        """Call the function; what it asserts and does not hold is what was expected.

        Raises:
            DefinitionError: It takes other inputs.
        """
        try:
            inspect.signature(self.function).bind(agent, **inputs)
        except TypeError as error:
            raise DefinitionError(f"task(agent, ...): {error}") from None
        held = agent.within(Limits())
        try:
            if inspect.iscoroutinefunction(self.function):
                returned: Any = await self.function(held, **inputs)
            else:
                returned = await anyio.to_thread.run_sync(lambda: self.function(held, **inputs))
        except AssertionError as error:
            return Outcome(None, (), (str(error) or "an assertion of the script does not hold",))
        except AgentError:
            raise
        except Exception as error:  # noqa: BLE001 - the function is the user's, and may raise anything
            return Outcome(None, (), (_told(error, self.function),))
        shown: Any = to_jsonable_python(returned, fallback=str)
        return Outcome(shown if isinstance(returned, Mapping) else {"answer": shown}, (), ())


def load_script(path: Path) -> Script:
    """A .py file's function `task`, or a task file.

    Raises:
        DefinitionError: It can't be read, or has no such function.
    """
    if path.suffix != ".py":
        return ScriptedTask(TaskFile.load(path))
    spec = spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path}: the file can't be read")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a script of the user raises is said, and is theirs
        raise DefinitionError(f"{path}: {type(error).__name__}: {error}") from error
    function = getattr(module, "task", None)
    if not callable(function):
        raise DefinitionError(f"{path}: there is no function task(agent, ...) in it")
    return PythonTask(function)


def read_inputs(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE, where a VALUE that is JSON is what that says, and any other is a text.

    Raises:
        DefinitionError: There is no "=" in one.
    """
    inputs: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise DefinitionError(f"--input {one}: it is NAME=VALUE")
        try:
            inputs[name] = json.loads(value)
        except ValueError:
            inputs[name] = value
    return inputs


def _why(result: Result) -> str:
    return f"the run ended at its limit on {result.reason.value}" if result.reason.is_limit else result.reason.value


def outcome_of(results: tuple[Result, ...], outputs: Mapping[str, Any] | None, unmet: tuple[str, ...] = ()) -> Outcome:
    """What runs came to, their outputs as JSON."""
    shown: Any = as_json(outputs)
    return Outcome(shown, results, unmet)


def unmet_of(
    expect: Mapping[str, Check], outputs: Mapping[str, Any] | None, results: tuple[Result, ...]
) -> tuple[str, ...]:
    """What was expected of outputs, or of all runs together, and is not so."""
    values: dict[str, Any] = to_jsonable_python(dict(outputs or {}), fallback=str)
    values |= _facts(results) if results else {}
    found: list[str] = []
    for name, check in expect.items():
        problem = check.problem(values[name]) if name in values else "there is no such output"
        if problem is not None:
            found.append(f"{name}: {problem}")
    return tuple(found)


def _facts(results: tuple[Result, ...]) -> dict[str, Any]:
    costs = [result.usage.cost_usd for result in results]
    return {
        "run.reason": results[-1].reason.value,
        "run.steps": sum(result.steps for result in results),
        "run.tool_calls": sum(result.tool_calls for result in results),
        "run.tokens": sum(result.usage.tokens for result in results),
        "run.cost_usd": None if None in costs else sum(cost or 0.0 for cost in costs),
        "run.seconds": sum(result.seconds for result in results),
    }


def _told(error: Exception, function: Any) -> str:
    """What a function of the user raised, and where in its file."""
    file = inspect.getsourcefile(function)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{Path(file).name}:{lines[-1]}: " if file and lines else ""
    return f"{where}{type(error).__name__}: {error}"


def _value(outputs: Mapping[str, Any]) -> Any:
    shown: dict[str, Any] = to_jsonable_python(dict(outputs), fallback=str)
    return next(iter(shown.values())) if len(shown) == 1 else shown


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
