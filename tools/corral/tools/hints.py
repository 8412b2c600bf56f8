"""What a function's signature, hints and docstring say of a call, as JSON Schema."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final, NotRequired, cast

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from corral.tools.docstring import read_docstring
from corral.tools.errors import ToolConfigError
from corral.tools.media import Media
from corral.tools.observation import Observation

__all__ = ["CallShape", "Untitled"]

_NO_SCHEMA: Final = (PydanticUserError, PydanticUndefinedAnnotation)


class CallShape:
    """One function as seen by who calls it.

    Raises:
        ToolConfigError: From each of its parts, if a parameter or its hint has no place in a schema.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self._name = name
        self.description, self._remarks = read_docstring(function.__doc__ if inspect.isroutine(function) else None)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        function = self._function
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
        parameters = dict(inspect.signature(self._function).parameters)
        for name, parameter in parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                spelled = str(parameter).partition(":")[0]
                raise ToolConfigError(
                    f"tool {self._name!r}", f"the parameter {spelled!r} can't be passed by one name; spell {name!r} out"
                )
        return parameters

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Turns JSON arguments into values of the declared types, by name."""
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
            schema = self.adapter.json_schema(schema_generator=Untitled)
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
        if self._hints.get("return", Any) in (None, type(None), Any, Observation, Media):
            return None
        try:
            return TypeAdapter[Any](self._hints["return"]).json_schema(schema_generator=Untitled, mode="serialization")
        except (*_NO_SCHEMA, NameError, TypeError):
            return None  # a result is shown as JSON whatever its type


class Untitled(GenerateJsonSchema):
    """Pydantic's schema without the titles that it makes out of field names: a model reads these twice for nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_title_from_name(self, name: str) -> str:
        return name


def _add_default(part: dict[str, Any], default: Any) -> None:
    try:
        part.setdefault("default", json.loads(json.dumps(to_jsonable_python(default), allow_nan=False)))
    except ValueError:
        return  # not JSON: the parameter is optional all the same


def _callers_names() -> dict[str, Any]:
    """The names around the definition of the function: those of the nearest frame that is not ours."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("corral.", "functools")):
        frame = frame.f_back
    return {} if frame is None else dict(frame.f_locals)
