"""Guards over values: whether they are of the shape that they should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from corral.agents.errors import DefinitionError
from corral.agents.guards.guard import About, Guard

__all__ = ["Schema"]


class Schema(Guard):
    """Values that fit: a JSON Schema of all of them by name, or one type for each of `fields`.

    A text for a type that is no text is read as JSON first. Remote references of a schema are never fetched.

    Raises:
        DefinitionError: It is no schema.
    """

    def __init__(self, schema: Mapping[str, Any] | Any, **options: Any) -> None:
        super().__init__(**options)
        by_schema = isinstance(schema, Mapping)
        self._validate = _by_json_schema(cast("Mapping[str, Any]", schema)) if by_schema else None
        self._type = None if by_schema else TypeAdapter[Any](schema)

    async def inspect(self, values: Mapping[str, Any], about: About) -> tuple[list[str], dict[str, Any]]:
        chosen = {name: value for name, value in values.items() if self.fields is None or name in self.fields}
        if self._validate is not None:
            return self._validate(to_jsonable_python(chosen, fallback=str)), dict(values)
        return [why for name, value in chosen.items() if (why := self._misfit(name, value))], dict(values)

    def _misfit(self, name: str, value: Any) -> str:
        assert self._type is not None
        try:
            if isinstance(value, str) and self._type.core_schema.get("type") != "str":
                self._type.validate_json(value)
            else:
                self._type.validate_python(value)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join([name, *(str(part) for part in problem["loc"])])
            return f"{where}: {problem['msg']}"
        return ""


def _by_json_schema(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator, SchemaError  # keeps start-up light
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise DefinitionError(f"it is no JSON Schema: {error.message}") from None
    validator = Draft202012Validator(dict(schema), registry=Registry[Any]())

    def misfits(values: Any) -> list[str]:
        found: list[Any] = list(cast("Any", validator).iter_errors(values))
        return [f"{'.'.join(map(str, one.absolute_path)) or 'the values'}: {one.message[:200]}" for one in found[:5]]

    return misfits
