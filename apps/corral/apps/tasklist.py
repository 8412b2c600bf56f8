"""The tasks of a batch: a JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from corral.apps.check import Check
from corral.apps.failures import Exit, fail

__all__ = ["BatchTask", "read_tasks"]


@dataclass(frozen=True)
class BatchTask:
    """One line of a batch.

    Attributes:
        id: The line's number, if it has none.
        expect: Of its outputs, by name.
        digest: Of the line, by which a task that was changed is known.
    """

    id: str
    inputs: dict[str, Any]
    expect: dict[str, Check]
    digest: str


def read_tasks(path: Path) -> list[BatchTask]:
    """The tasks of a JSONL file.

    Raises:
        click.exceptions.Exit: It can't be read, or a line is wrong; it was said on stderr.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{path}: the file can't be read: {problem}", Exit.BAD_INPUT) from error
    tasks: dict[str, BatchTask] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            task = _task(line, number)
        except ValueError as error:
            raise fail(f"{path}:{number}: {error}", Exit.BAD_INPUT) from None
        if task.id in tasks:
            raise fail(f"{path}:{number}: the id {task.id!r} stands here twice", Exit.BAD_INPUT)
        tasks[task.id] = task
    return list(tasks.values())


def _task(line: str, number: int) -> BatchTask:
    try:
        value: Any = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("this is not a JSON object")
    inputs = dict(cast("dict[str, Any]", value))
    digest = sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
    name = str(inputs.pop("id", number))
    return BatchTask(name, inputs, _checks(inputs.pop("expect", {})), digest)


def _checks(given: Any) -> dict[str, Check]:
    if not isinstance(given, dict):
        raise ValueError("expect: it takes checks by the name of an output")
    checks: dict[str, Check] = {}
    for name, said in cast("dict[str, Any]", given).items():
        try:
            checks[name] = Check.model_validate(said)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in ("expect", name, *first["loc"]))
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    return checks
