"""Checks: what is expected of a value, written down in a file."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Check"]


class Check(BaseModel):
    """What a value has to be; all that is given has to hold.

    Attributes:
        equals: The very value, as JSON; 1 and 1.0 are the same.
        contains: Texts that stand in it, whatever their case; of a list, members of it.
        lacks: Texts or members that don't.
        matches: A regular expression that is found in its text.
        one_of: The values that are allowed.
        min: The least number, or the fewest members or characters of what has a length.
        max: The most.
        json_schema: A JSON Schema that it fits; in files, `schema`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    equals: Any = None
    contains: str | list[Any] = []
    lacks: str | list[Any] = []
    matches: str | None = None
    one_of: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")

    @field_validator("matches")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        if value is not None:
            kind: Any = validator_for(value)
            try:
                kind.check_schema(value)
            except SchemaError as error:
                raise ValueError(f"this is no JSON Schema: {error.message}") from None
        return value

    @model_validator(mode="after")
    def _expects_something(self) -> Check:
        if not self.model_fields_set:
            raise ValueError("nothing is expected; give equals, contains, lacks, matches, one_of, min, max or schema")
        return self

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value`, JSON, in half a sentence; None if nothing is."""
        shown = _shown(value)
        if "equals" in self.model_fields_set and value != self.equals:
            return f"it is {shown}, and should be {_shown(self.equals)}"
        for wanted in _listed(self.contains):
            if not _holds(value, wanted):
                return f"{_shown(wanted)} is not in {shown}"
        for unwanted in _listed(self.lacks):
            if _holds(value, unwanted):
                return f"{_shown(unwanted)} is in {shown}"
        if self.matches is not None and re.search(self.matches, _text(value)) is None:
            return f"/{self.matches}/ is not found in {shown}"
        if self.one_of is not None and value not in self.one_of:
            return f"it is {shown}, and should be one of {_shown(self.one_of)}"
        return self._size_problem(value, shown) or self._schema_problem(value)

    def _size_problem(self, value: Any, shown: str) -> str | None:
        if self.min is None and self.max is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str | list | dict):
            return f"it is {shown}, which has no size"
        size = value if isinstance(value, int | float) else len(cast("Any", value))
        if self.min is not None and size < self.min:
            return f"it is {shown}: {size:g} is less than {self.min:g}"
        if self.max is not None and size > self.max:
            return f"it is {shown}: {size:g} is more than {self.max:g}"
        return None

    def _schema_problem(self, value: Any) -> str | None:
        if self.json_schema is None:
            return None
        from jsonschema.validators import validator_for

        kind: Any = validator_for(self.json_schema)
        for error in kind(self.json_schema).iter_errors(value):
            return f"{error.json_path}: {error.message}"
        return None


def _listed(value: str | list[Any]) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _holds(value: Any, part: Any) -> bool:
    if isinstance(value, list):
        return part in cast("list[Any]", value)
    return str(part).casefold() in _text(value).casefold()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
