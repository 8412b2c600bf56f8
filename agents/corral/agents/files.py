"""Files of a task, in and out of the sandbox that its code runs in: inputs and outputs that are `dspy.File`."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, cast

import dspy

from corral.agents.signature import InvalidOutputs, TaskSignature
from corral.sandbox import Sandbox, SandboxFileError

__all__ = ["fetch", "file_outputs", "files_in", "schema_of_names"]


def files_in(inputs: Mapping[str, Any]) -> dict[str, bytes]:
    """What is in the files among the inputs, by the name that each has in the working folder."""
    found: dict[str, bytes] = {}
    for name, value in inputs.items():
        for file in _each(value):
            if file.file_data is not None:
                found[_unused(_plain(file.filename) or name, found)] = _content(file.file_data)
    return found


def file_outputs(signature: TaskSignature) -> frozenset[str]:
    """The outputs that are files."""
    return frozenset(name for name, field in signature.outputs.items() if field.annotation is dspy.File)


def schema_of_names(signature: TaskSignature) -> dict[str, Any]:
    """The schema of the outputs where code answers: of a file, the name in the working folder."""
    names = file_outputs(signature)
    if not names:
        return signature.schema
    properties = {
        name: {"type": "string", "description": _described(field)} if name in names else field
        for name, field in signature.schema["properties"].items()
    }
    definitions = {name: each for name, each in signature.schema.get("$defs", {}).items() if name != "File"}
    schema = {name: each for name, each in signature.schema.items() if name != "$defs"}
    return {**schema, **({"$defs": definitions} if definitions else {}), "properties": properties}


async def fetch(session: Sandbox, submitted: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """What was submitted, with the files for their names.

    Raises:
        InvalidOutputs: There is no such file.
    """
    outputs = dict(submitted)
    for name in names & outputs.keys():
        path = outputs[name]
        if not isinstance(path, str):
            raise InvalidOutputs(f"{name}: give the name of a file in the working folder")
        try:
            data = await session.get(path)
        except SandboxFileError as error:
            raise InvalidOutputs(f"{name}: {error}") from None
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        encoded = base64.b64encode(data).decode("ascii")
        outputs[name] = {"file_data": f"data:{kind};base64,{encoded}", "filename": PurePosixPath(path).name}
    return outputs


def _each(value: Any) -> Iterator[Any]:
    parts: Sequence[Any] = cast("list[Any]", value) if isinstance(value, list | tuple) else (value,)
    yield from (part for part in parts if isinstance(part, dspy.File))


def _content(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def _plain(filename: str | None) -> str:
    """A name without folders; what could be more than a name in a working folder is none."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return name if name.isprintable() and not name.startswith(".") and len(name.encode()) <= 200 else ""


def _unused(name: str, taken: Mapping[str, bytes]) -> str:
    number, path = 1, PurePosixPath(name)
    while name in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    return name


def _described(field: Mapping[str, Any]) -> str:
    said = str(field.get("description", "")).strip()
    return f"{said} (the name of a file in the working folder)" if said else "The name of a file in the working folder."
