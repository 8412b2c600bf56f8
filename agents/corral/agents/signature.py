"""A task's typed inputs and outputs: how they are shown to a model, and how its answer is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import dspy
from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from corral.agents.errors import DefinitionError
from corral.agents.media import is_mixed, media_in, mixed_from_json, without_media

__all__ = ["InvalidOutputs", "TaskSignature"]


class InvalidOutputs(Exception):
    """The model's answer does not fit the outputs; the text tells the model how."""


@dataclass(frozen=True)
class TaskSignature:
    """A DSPy signature, seen as the contract of a run.

    Attributes:
        outputs_model: The output fields as one pydantic model; what `submit` takes.
        schema: Its JSON Schema.
    """

    inputs: Mapping[str, FieldInfo]
    outputs: Mapping[str, FieldInfo]
    outputs_model: type[BaseModel]
    schema: dict[str, Any]

    @classmethod
    def of(cls, signature: str | type[dspy.Signature]) -> TaskSignature:
        """Read a signature such as "question -> answer: int", or a class.

        Raises:
            DefinitionError: It does not parse, or has no input or no output.
        """
        try:
            parsed: Any = cast("Any", dspy).ensure_signature(signature)
            inputs: dict[str, FieldInfo] = dict(parsed.input_fields)
            outputs: dict[str, FieldInfo] = dict(parsed.output_fields)
        except (ValueError, TypeError, SyntaxError, NameError, AttributeError) as error:
            raise DefinitionError(f"the signature {signature!r} can't be read: {error}") from None
        if not inputs or not outputs:
            raise DefinitionError(f"the signature {signature!r} needs an input and an output, as in 'task -> answer'")
        model = _model("Outputs", outputs)
        return cls(inputs, outputs, model, _schema(model))

    @property
    def inputs_schema(self) -> dict[str, Any]:
        """The JSON Schema of the inputs, for those that are asked for them."""
        return _schema(_model("Inputs", self.inputs))

    @property
    def written(self) -> str:
        """The fields as "inputs -> outputs"."""

        def fields(named: Mapping[str, FieldInfo]) -> str:
            return ", ".join(f"{name}: {_type_name(field.annotation)}" for name, field in named.items())

        return f"{fields(self.inputs)} -> {fields(self.outputs)}"

    @property
    def unwritten(self) -> str:
        """The instructions that DSPy makes up of the fields' names where nobody wrote any."""

        def fields(named: Mapping[str, FieldInfo]) -> str:
            return ", ".join(f"`{name}`" for name in named)

        return f"Given the fields {fields(self.inputs)}, produce the fields {fields(self.outputs)}."

    @property
    def text_output(self) -> str | None:
        """The output's name where plain text is a whole answer: one output, a string."""
        if len(self.outputs) == 1:
            ((name, field),) = self.outputs.items()
            if field.annotation is str:
                return name
        return None

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a run, by name.

        Raises:
            DefinitionError: One is missing, unknown, not of its type, or a picture that can't be read.
        """
        unknown = [name for name in given if name not in self.inputs]
        missing = [name for name in self.inputs if name not in given]
        if unknown or missing:
            parts = [f"unknown input {name!r}" for name in unknown] + [f"missing input {name!r}" for name in missing]
            raise DefinitionError(f"{', '.join(parts)}; this agent takes {', '.join(self.inputs)}")
        bound: dict[str, Any] = {}
        for name, field in self.inputs.items():
            if field.annotation is str and isinstance(given[name], list | tuple):
                bound[name] = mixed_from_json(given[name])
                continue
            if field.annotation in (str, None, Any):
                bound[name] = given[name]
                continue
            try:
                bound[name] = TypeAdapter[Any](field.annotation).validate_python(given[name])
            except PydanticSchemaGenerationError:
                bound[name] = given[name]
            except ValidationError as error:
                raise DefinitionError(f"input {name!r}: {_first_problem(error)}") from None
        media_in(bound)
        return bound

    def render(self, values: Mapping[str, Any]) -> str:
        """Inputs as the model reads them: the bare text of a single string, else a block for each."""
        if len(values) == 1:
            ((name, value),) = values.items()
            if isinstance(value, str) or (self.inputs[name].annotation is str and is_mixed(value)):
                return as_text(value)
        return "\n\n".join(f"{name}:\n{as_text(value)}" for name, value in values.items())

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs as Python values of their types.

        Raises:
            InvalidOutputs: They don't fit.
        """
        try:
            model = self.outputs_model.model_validate(dict(values))
        except ValidationError as error:
            raise InvalidOutputs(_all_problems(error)) from None
        return {name: getattr(model, name) for name in self.outputs}

    def read_text(self, text: str) -> dict[str, Any]:
        """Outputs from a plain-text answer: the text itself, or JSON in it.

        Raises:
            InvalidOutputs: It is neither.
        """
        if (name := self.text_output) is not None:
            return {name: text.strip()}
        value = json_in(text)
        if isinstance(value, dict) and set(fields := cast("dict[str, Any]", value)) <= set(self.outputs):
            return self.check(fields)
        if len(self.outputs) == 1:
            (name,) = self.outputs
            return self.check({name: text.strip() if value is None else value})
        raise InvalidOutputs("the answer is not JSON with " + ", ".join(self.outputs))


def _type_name(annotation: Any) -> str:
    plain = isinstance(annotation, type) and not getattr(annotation, "__args__", ())
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def as_text(value: Any) -> str:
    """A value as the model reads it: a string as it is, texts and pictures in a row as lines, anything else as JSON;
    of pictures it tells in words."""
    told = without_media(value)
    if is_mixed(value):
        return "\n".join(told)
    if isinstance(told, str):
        return told
    return json.dumps(to_jsonable_python(told, fallback=str), ensure_ascii=False)


def json_in(text: str) -> Any | None:
    """The JSON value that is the whole text, or stands in its first fenced block; None if there is none."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.split("\n", 1)[-1].rsplit("```", 1)[0]
    try:
        return json.loads(stripped)
    except ValueError:
        return None


def _model(name: str, named: Mapping[str, FieldInfo]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (_annotation(field), _described(field)) for name, field in named.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    schema.pop("title", None)
    for prop in schema["properties"].values():
        prop.pop("title", None)
    return schema


def _annotation(field: FieldInfo) -> Any:
    """The field's type with its constraints, which pydantic keeps apart from it."""
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return annotation


def _described(field: FieldInfo) -> FieldInfo:
    extra: Any = cast("Any", field).json_schema_extra or {}
    described: Any = extra.get("desc") if hasattr(extra, "get") else None
    # DSPy fills in "${name}" where nobody wrote a description.
    if not isinstance(described, str) or described.startswith("${"):
        described = field.description
    return FieldInfo(annotation=field.annotation, default=..., description=described)


def _first_problem(error: ValidationError) -> str:
    return error.errors(include_url=False)[0]["msg"]


def _all_problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in p['loc'])}: {p['msg']}" for p in problems[:5])
