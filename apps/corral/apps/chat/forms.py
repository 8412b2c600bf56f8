"""Filling in a form that a server asks for, line by line."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

__all__ = ["fill_form"]


async def fill_form(
    schema: Mapping[str, Any], read: Callable[[str], Awaitable[str]], say: Callable[[str], None]
) -> dict[str, Any]:
    """What the person types for each field of a flat object; a field that is left empty is left out.

    Args:
        read: Gives the line that the person types after a prompt.
        say: Shows a line.
    """
    required = cast("list[Any]", schema.get("required") or [])
    filled: dict[str, Any] = {}
    for name, part in cast("dict[str, dict[str, Any]]", schema.get("properties") or {}).items():
        while True:
            text = (await read(_prompt(name, part, name in required))).strip()
            if not text and ("default" in part or name not in required):
                break
            if not text:
                say("  it is required")
                continue
            try:
                filled[name] = _parse(text, part)
                break
            except ValueError as error:
                say(f"  {error}")
    return filled


def _prompt(name: str, part: Mapping[str, Any], required: bool) -> str:
    about = str(part.get("description") or part.get("title") or "")
    choices = _choices(part)
    hints = [", ".join(choices)] if choices else []
    hints += [f"default {json.dumps(part['default'], ensure_ascii=False)}"] if "default" in part else []
    hints += ["optional"] if not required and "default" not in part else []
    shown = f"  {name} ({about})" if about else f"  {name}"
    return f"{shown} [{'; '.join(hints)}]: " if hints else f"{shown}: "


def _parse(text: str, part: Mapping[str, Any]) -> Any:
    kind = part.get("type")
    if kind == "array":
        return [_chosen(one.strip(), _choices(part)) for one in text.split(",") if one.strip()]
    if kind == "boolean":
        if text.lower() not in ("y", "yes", "true", "n", "no", "false"):
            raise ValueError("answer yes or no")
        return text.lower() in ("y", "yes", "true")
    if kind in ("integer", "number"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            raise ValueError(f"{text!r} is no {'whole ' if kind == 'integer' else ''}number") from None
    return _chosen(text, _choices(part))


def _chosen(text: str, choices: list[str]) -> str:
    if choices and text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text


def _choices(part: Mapping[str, Any]) -> list[str]:
    where = cast("dict[str, Any]", part.get("items") or part)
    if isinstance(listed := where.get("enum"), list):
        return [str(one) for one in cast("list[Any]", listed)]
    options = cast("list[dict[str, Any]]", where.get("oneOf") or where.get("anyOf") or [])
    return [str(one["const"]) for one in options if "const" in one]
