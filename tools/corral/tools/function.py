"""Python functions as tools: `@tool`, with the schema read from type hints and docstring."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, cast, overload

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from corral.policy import Label
from corral.tools.errors import BadArguments, ToolConfigError
from corral.tools.hints import CallShape
from corral.tools.leaving import run_and_leave
from corral.tools.media import Media
from corral.tools.observation import Json, Observation
from corral.tools.threads import run_in_thread
from corral.tools.tool import DEFAULT_TIMEOUT, Effect, Tool

__all__ = ["make_tool", "tool"]

EffectName = Literal["read", "idempotent", "once"]
_NO_OUTPUT: Final = "(no output)"


@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    effect: Effect | EffectName = "once",
    timeout: float = DEFAULT_TIMEOUT,
    parallel: bool = True,
    read_only: bool | None = None,
) -> Tool: ...
@overload
def tool(
    function: None = None,
    /,
    *,
    name: str | None = None,
    effect: Effect | EffectName = "once",
    timeout: float = DEFAULT_TIMEOUT,
    parallel: bool = True,
    read_only: bool | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: Effect | EffectName = "once",
    timeout: float = DEFAULT_TIMEOUT,
    parallel: bool = True,
    read_only: bool | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """A function as a tool that models may call; plain `@tool` or `@tool(effect="read", ...)`.

    The input schema comes from the type hints, the descriptions from the docstring (Google, NumPy or Sphinx style) or
    `Annotated[..., Field(description=...)]`. The function gets values of its declared types. A sync function runs in a
    thread with the caller's context variables; when its time is over the call ends, though the thread can't be stopped.

    Args:
        name: What models call it; the function's own name when None.
        effect: Whether a call may be repeated; "read" also declares the function read-only.
        timeout: Seconds a call may take.
        parallel: It may run beside other calls of its turn.
        read_only: Says it apart from `effect`.

    Raises:
        ToolConfigError: A parameter has no place in a schema (`*args`, a type unknown to pydantic), or the name is odd.
    """
    make = partial(make_tool, name=name, effect=Effect(effect), timeout=timeout, parallel=parallel, read_only=read_only)
    return make if function is None else make(function)


def make_tool(
    function: Callable[..., Any],
    *,
    source: str = "local",
    name: str | None = None,
    effect: Effect = Effect.ONCE,
    timeout: float = DEFAULT_TIMEOUT,
    parallel: bool = True,
    read_only: bool | None = None,
) -> Tool:
    """The tool of a plain function; see `tool`."""
    name = name or str(getattr(function, "__name__", ""))
    resource = f"tool:{source}/{name}"
    run = FunctionRun(function, name, Label.untrusted(resource))
    return Tool(
        name,
        resource,
        run,
        description=run.shape.description,
        input_schema=run.shape.input_schema(),
        output_schema=run.shape.output_schema(),
        effect=effect,
        read_only=effect is Effect.READ if read_only is None else read_only,
        timeout=timeout,
        parallel=parallel,
        trusted=True,
    )


class FunctionRun:
    """One function as a tool's work: coerces the arguments, calls it, and shapes what it returns."""

    def __init__(self, function: Callable[..., Any], name: str, label: Label) -> None:
        self.function = function
        self._name = name
        self._label = label
        call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
        if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
            raise ToolConfigError(f"tool {name!r}", "it is a generator; a tool returns its whole result")
        self._is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(function)
        self.shape = CallShape(function, name)

    async def __call__(self, arguments: dict[str, Any]) -> Observation:
        try:
            values = cast("dict[str, Any]", self.shape.adapter.validate_python(arguments))
        except ValidationError as error:
            raise BadArguments(self._name, tuple(_tell(error))) from None
        if self._is_async:
            result = await run_and_leave(self.function(**values), f"tool {self._name}")
        else:
            work = partial(self.function, **values)
            result: Any = await run_in_thread(work, f"tool {self._name}")
            if inspect.iscoroutine(result):
                result = await run_and_leave(result, f"tool {self._name}")
            elif inspect.isawaitable(result):
                result = await result
        return self._observe(result)

    def _observe(self, result: Any) -> Observation:
        if isinstance(result, str):
            return Observation(result, label=self._label)
        if result is None:
            return Observation(_NO_OUTPUT, label=self._label)
        if isinstance(result, Observation):
            return result if result.label != Label() else replace(result, label=self._label)
        if (seen := _media_of(result)) is not None:
            text = "\n".join(part if isinstance(part, str) else _as_json(part) for part in seen)
            return Observation(text, label=self._label, media=tuple(part for part in seen if isinstance(part, Media)))
        text = _as_json(result)
        value = cast("Json", json.loads(text))
        return Observation(value if isinstance(value, str) else text, value, label=self._label)

    def __reduce__(self) -> tuple[Any, ...]:
        # A decorated function can't be pickled by its name, which now means the tool.
        module, name = getattr(self.function, "__module__", ""), getattr(self.function, "__qualname__", "")
        if module != "__main__" and _find_function(module, name) is self.function:
            return _run_of, (module, name, self._name, self._label)
        return FunctionRun, (self.function, self._name, self._label)


def _media_of(result: Any) -> list[Any] | None:
    """What a function returned, part by part, if there are pictures in it: `Media`, or what a notebook shows as one."""
    parts: list[Any] = list(cast("list[Any]", result)) if isinstance(result, list | tuple) else [result]
    drawn = [_drawn(part) for part in parts]
    return drawn if any(isinstance(part, Media) for part in drawn) else None


def _drawn(part: Any) -> Any:
    draw = getattr(part, "_repr_png_", None)  # as Pillow's images have it, and whatever else IPython draws
    png = draw() if callable(draw) and not isinstance(part, type) else None
    return Media.of(png, "image/png") if isinstance(png, bytes) else part


def _as_json(value: Any) -> str:
    if isinstance(value, Media):
        return str(value)
    try:
        return to_json(value, fallback=repr, bytes_mode="base64", inf_nan_mode="strings").decode()
    except PydanticSerializationError:  # half a character, such as a file's name in another encoding has: escaped
        return json.dumps(to_jsonable_python(value, fallback=repr, bytes_mode="base64", inf_nan_mode="strings"))


def _run_of(module: str, name: str, tool_name: str, label: Label) -> FunctionRun:
    return FunctionRun(_find_function(module, name), tool_name, label)


def _find_function(module: str, name: str) -> Any:
    try:
        found: Any = importlib.import_module(module) if module else None
        for step in name.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError):
        return None
    run = found.__dict__.get("_run") if isinstance(found, Tool) else None
    return run.function if isinstance(run, FunctionRun) else found


def _tell(error: ValidationError) -> list[str]:
    return [
        f"argument '{'.'.join(str(step) for step in problem['loc'])}': {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:4]
    ]
