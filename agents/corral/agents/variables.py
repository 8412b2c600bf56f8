"""Inputs as variables of code: what is long or no text is there whole, however little of it the prompt shows."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from corral.agents.media import is_mixed, media_in
from corral.agents.signature import as_text
from corral.agents.toolcalls import cut_middle

__all__ = ["shown_beside", "variables_of"]

_MOST_SHOWN = 100_000
"""Characters of an input that a prompt shows, about 25 000 tokens, where code has all of it."""


def variables_of(inputs: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The inputs that code gets, as JSON values by name: all but short texts, and pictures.

    Args:
        taken: Names that mean something else there.
    """
    return {
        name: to_jsonable_python(value, fallback=str)
        for name, value in inputs.items()
        if _is_worth_it(value) and name not in taken and not keyword.iskeyword(name)
    }


def shown_beside(
    inputs: Mapping[str, Any], variables: Collection[str], files: Collection[str]
) -> tuple[dict[str, Any], str]:
    """The inputs as a prompt shows them where `variables` and `files` have them whole, and what it says of these."""
    shown = dict(inputs)
    for name in variables:
        if len(text := as_text(inputs[name])) > _MOST_SHOWN:
            shown[name] = cut_middle(text, _MOST_SHOWN)
    named = ", ".join(name for name in inputs if name in variables)
    told = [f"Whole, as variables in `python`: {named}."] if named else []
    told += [f"Files in its working folder: {', '.join(files)}."] if files else []
    return shown, "\n".join(told)


def _is_worth_it(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > _MOST_SHOWN
    return value is not None and not is_mixed(value) and not media_in(value)
