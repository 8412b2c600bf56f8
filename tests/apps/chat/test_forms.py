"""Forms of servers, filled in by a person."""

from __future__ import annotations

from typing import Any

from corral.apps.chat.forms import fill_form
from corral.tools import Elicitation

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Whose?"},
        "heads": {"type": "integer", "default": 1, "minimum": 1},
        "weight": {"type": "number"},
        "tame": {"type": "boolean"},
        "kind": {"type": "string", "oneOf": [{"const": "cow", "title": "A cow"}, {"const": "goat", "title": "A goat"}]},
        "colours": {"type": "array", "items": {"type": "string", "enum": ["brown", "black"]}},
    },
    "required": ["name", "tame"],
}


async def test_each_field_is_asked_until_it_can_be_read() -> None:
    lines = iter(["", "Ada", "many", "3", "", "perhaps", "y", "pig", "cow", "brown, black"])
    prompts: list[str] = []
    said: list[str] = []

    async def read(prompt: str) -> str:
        prompts.append(prompt)
        return next(lines)

    filled = await fill_form(SCHEMA, read, said.append)
    assert filled == {"name": "Ada", "heads": 3, "tame": True, "kind": "cow", "colours": ["brown", "black"]}
    assert said == [
        "  it is required",
        "  'many' is no whole number",
        "  answer yes or no",
        "  'pig' is none of cow, goat",
    ]
    assert prompts[0] == "  name (Whose?): "
    assert "  heads [default 1]: " in prompts
    assert Elicitation("s", "?", SCHEMA).filled(filled)["heads"] == 3
