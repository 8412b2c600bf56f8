"""A task whose answer is JSON that fits a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

from corral.apps.failures import Exit, fail

__all__ = ["read_schema"]


def read_schema(path: Path) -> Any:
    """A `dspy.Signature` with the output `answer`, whose JSON is checked against the schema in `path`.

    Raises:
        click.exceptions.Exit: The file can't be read, or is no JSON Schema; it was said on stderr.
    """
    try:
        schema: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{path}: the file can't be read: {problem}", Exit.BAD_INPUT) from error
    except ValueError as error:
        raise fail(f"{path}: this is not JSON: {error}", Exit.BAD_INPUT) from error
    return _signature(path, schema)


def _signature(path: Path, schema: Any) -> Any:
    import dspy
    from jsonschema import SchemaError, ValidationError
    from jsonschema.validators import validator_for
    from pydantic import AfterValidator, WithJsonSchema

    kind: Any = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise fail(f"{path}: this is no JSON Schema: {error.message}", Exit.BAD_INPUT) from error
    validator = kind(schema)

    def check(value: Any) -> Any:
        try:
            validator.validate(value)
        except ValidationError as error:
            raise ValueError(f"{error.json_path}: {error.message}") from None
        return value

    annotation: Any = Annotated[Any, AfterValidator(check), WithJsonSchema(schema)]
    made = cast("Any", dspy)
    fields = {"task": (str, made.InputField()), "answer": (annotation, made.OutputField())}
    return made.make_signature(fields, "Do the task; the answer is JSON.")
