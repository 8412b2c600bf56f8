"""Reading an agent from YAML, TOML, or the front matter of Markdown, with the line of whatever is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from corral.agents.errors import DefinitionError
from corral.policy import PolicyFileError
from corral.policy.files import read

__all__ = ["read_agent"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_FENCE = "---"


def read_agent(path: Path, model: type[ModelT]) -> ModelT:
    """`path` as a `model`; of Markdown, the text below the front matter is the key `instructions`.

    Raises:
        DefinitionError: It can't be read, parsed or validated.
    """
    if path.suffix != ".md":
        return _read(path, path, model)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path}: the file can't be read: {error}") from None
    if not lines or lines[0].strip() != _FENCE or _FENCE not in (line.strip() for line in lines[1:]):
        raise DefinitionError(f"{path}:1: an agent in Markdown begins with front matter between two lines of ---")
    end = next(number for number, line in enumerate(lines[1:], 1) if line.strip() == _FENCE)
    with tempfile.TemporaryDirectory() as folder:
        # The reader takes files; the line of the fence stands for itself, so that line numbers are the file's own.
        front = Path(folder) / "front.yaml"
        front.write_text("\n".join(["", *lines[1:end]]), encoding="utf-8")
        found = _read(front, path, model)
    text = "\n".join(lines[end + 1 :]).strip()
    if text and "instructions" in found.model_fields_set:
        raise DefinitionError(f"{path}: instructions stand in the front matter and below it; keep one of them")
    return found.model_copy(update={"instructions": text}) if text else found


def _read(path: Path, shown: Path, model: type[ModelT]) -> ModelT:
    try:
        return read(path, model)
    except PolicyFileError as error:
        where = f"{shown}:{error.line}" if error.line else str(shown)
        raise DefinitionError(f"{where}: {error.problem}") from None
