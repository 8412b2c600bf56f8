"""The model as memory uses it: a question in, an answer out, parsed at once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

__all__ = ["Model", "read_json"]

T = TypeVar("T")

Model = Callable[[str], Awaitable[str]]
"""Asks a model and returns what it said. It is an effect of its own: whoever makes it passes the gate."""

_ARRAY: Final = re.compile(r"\[.*\]", re.DOTALL)


def read_json(answer: str, expected: TypeAdapter[list[T]]) -> list[T]:
    """The JSON array in `answer`, whatever stands around it.

    Raises:
        ValueError: There is none of the expected shape.
    """
    found = _ARRAY.search(answer)
    if found is None:
        raise ValueError("there is no JSON array in the answer")
    try:
        return expected.validate_json(found.group())
    except ValidationError as error:
        raise ValueError(f"the answer is of another shape: {error.errors()[0]['msg']}") from error
