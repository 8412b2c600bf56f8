"""Python functions as tools: `@tool`, with the schema read from type hints and docstring."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final, Literal, NotRequired, cast, overload

import anyio.to_thread
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json, to_jsonable_python
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from corral.policy import Label
from corral.tools.docstring import read_docstring
from corral.tools.errors import BadArguments, ToolConfigError
from corral.tools.observation import Json, Observation
from corral.tools.tool import DEFAULT_TIMEOUT, Effect, Tool

__all__ = ["make_tool", "tool"]

EffectName = Literal["read", "idempotent", "once"]
_NO_OUTPUT: Final = "(no output)"
_NO_SCHEMA: Final = (PydanticUserError, PydanticUndefinedAnnotation)


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
        description=run.description,
        input_schema=run.input_schema(),
        output_schema=run.output_schema(),
        effect=effect,
        read_only=effect is Effect.READ if read_only is None else read_only,
        timeout=timeout,
        parallel=parallel,
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
        self.description, self._remarks = read_docstring(function.__doc__ if inspect.isroutine(function) else None)

    async def __call__(self, arguments: dict[str, Any]) -> Observation:
        try:
            values = cast("dict[str, Any]", self._adapter.validate_python(arguments))
        except ValidationError as error:
            raise BadArguments(self._name, tuple(_tell(error))) from None
        if self._is_async:
            result = await self.function(**values)
        else:
            work = partial(self.function, **values)
            result: Any = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            if inspect.isawaitable(result):
                result = await result
        return self._observe(result)

    def _observe(self, result: Any) -> Observation:
        if isinstance(result, str):
            return Observation(result, label=self._label)
        if result is None:
            return Observation(_NO_OUTPUT, label=self._label)
        if isinstance(result, Observation):
            return result
        text = to_json(result, fallback=repr, bytes_mode="base64", inf_nan_mode="strings").decode()
        value = cast("Json", json.loads(text))
        return Observation(value if isinstance(value, str) else text, value, label=self._label)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        function = self.function
        while isinstance(function, partial):
            function = cast("partial[Any]", function).func
        if not inspect.isroutine(function):
            function = type(function).__call__
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError:
            pass  # hints may name what is local to where the function was defined
        try:
            return typing.get_type_hints(function, localns=_callers_names(), include_extras=True)
        except NameError as error:
            raise ToolConfigError(f"tool {self._name!r}", f"a type hint can't be resolved: {error}") from None

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        parameters = dict(inspect.signature(self.function).parameters)
        for name, parameter in parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                spelled = str(parameter).partition(":")[0]
                raise ToolConfigError(
                    f"tool {self._name!r}", f"the parameter {spelled!r} can't be passed by one name; spell {name!r} out"
                )
        return parameters

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            hint = self._hints.get(name, Any)
            fields[name] = hint if parameter.default is parameter.empty else NotRequired[hint]
        shape = cast("Any", TypedDict)(f"{self._name}_arguments", fields)
        shape.__pydantic_config__ = ConfigDict(extra="forbid")
        return TypeAdapter[Any](shape)

    def input_schema(self) -> dict[str, Any]:
        """The arguments' JSON Schema, with defaults where JSON can write them."""
        try:
            schema = self._adapter.json_schema(schema_generator=_Untitled)
        except _NO_SCHEMA as error:
            raise ToolConfigError(f"tool {self._name!r}", f"a type hint has no JSON Schema: {error.message}") from error
        schema.pop("title", None)
        for name, parameter in self._parameters.items():
            part = cast("dict[str, Any]", schema["properties"][name])
            if name in self._remarks:
                part.setdefault("description", self._remarks[name])
            if parameter.default is not parameter.empty:
                _add_default(part, parameter.default)
        return schema

    def output_schema(self) -> dict[str, Any] | None:
        """The result's JSON Schema where its hint has one."""
        if self._hints.get("return", Any) in (None, type(None), Any, Observation):
            return None
        try:
            return TypeAdapter[Any](self._hints["return"]).json_schema(schema_generator=_Untitled, mode="serialization")
        except (*_NO_SCHEMA, NameError, TypeError):
            return None  # a result is shown as JSON whatever its type

    def __reduce__(self) -> tuple[Any, ...]:
        # A decorated function can't be pickled by its name, which now means the tool.
        module, name = getattr(self.function, "__module__", ""), getattr(self.function, "__qualname__", "")
        if module != "__main__" and _find_function(module, name) is self.function:
            return _run_of, (module, name, self._name, self._label)
        return FunctionRun, (self.function, self._name, self._label)


class _Untitled(GenerateJsonSchema):
    """Pydantic's schema without the titles that it makes out of field names: a model reads these twice for nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_title_from_name(self, name: str) -> str:
        return name


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


def _add_default(part: dict[str, Any], default: Any) -> None:
    try:
        part.setdefault("default", json.loads(json.dumps(to_jsonable_python(default), allow_nan=False)))
    except ValueError:
        return  # not JSON: the parameter is optional all the same


def _callers_names() -> dict[str, Any]:
    """The names around the outermost definition that called this module: those of the nearest frame outside it."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("corral.tools", "functools")):
        frame = frame.f_back
    return {} if frame is None else dict(frame.f_locals)


def _tell(error: ValidationError) -> list[str]:
    return [
        f"argument '{'.'.join(str(step) for step in problem['loc'])}': {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:4]
    ]
