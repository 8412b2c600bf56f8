"""Pins: the definitions of tools as a person approved them, in a lock file.

A server may change what a tool says of itself after it was looked at; with pins, a changed tool is not offered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final, Literal, cast

from corral.tools.errors import ToolConfigError
from corral.tools.tool import Tool

__all__ = ["Change", "Pins", "diff", "lock"]

_VERSION: Final = 1
_LOCAL: Final = ("tool:local/", "memory:")


@dataclass(frozen=True, slots=True)
class Change:
    """How one tool differs from its pin.

    Attributes:
        lines: A unified diff of the two definitions, for people.
    """

    resource: str
    kind: Literal["added", "changed", "removed"]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pins:
    """Approved definitions by resource; functions of the program itself need none."""

    definitions: Mapping[str, dict[str, Any]]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pins:
        """The pins of a lock file.

        Raises:
            ToolConfigError: It can't be read, or is no lock file.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ToolConfigError(str(path), f"the file can't be read: {error.strerror}") from error
        except ValueError as error:
            raise ToolConfigError(Path(path).name, "this is not JSON") from error
        tools: Any = cast("dict[str, Any]", data).get("tools") if isinstance(data, dict) else None
        if not isinstance(tools, dict) or cast("dict[str, Any]", data).get("version") != _VERSION:
            raise ToolConfigError(Path(path).name, f"this is no lock file of version {_VERSION}")
        return cls(cast("dict[str, dict[str, Any]]", tools))

    def change(self, tool: Tool) -> Literal["added", "changed"] | None:
        """How `tool` differs from what was approved, or None if it may be offered."""
        if tool.resource.startswith(_LOCAL):
            return None
        pinned = self.definitions.get(tool.resource)
        if pinned is None:
            return "added"
        return None if pinned == tool.definition() else "changed"

    def diff(self, tools: Iterable[Tool]) -> tuple[Change, ...]:
        """All differences, by resource."""
        live = {tool.resource: tool for tool in tools if not tool.resource.startswith(_LOCAL)}
        changes: list[Change] = []
        for resource in sorted({*live, *self.definitions}):
            tool = live.get(resource)
            if tool is None:
                changes.append(Change(resource, "removed", _lines(resource, self.definitions[resource], None)))
            elif (kind := self.change(tool)) is not None:
                pinned = self.definitions.get(resource)
                changes.append(Change(resource, kind, _lines(resource, pinned, tool.definition())))
        return tuple(changes)


def lock(tools: Iterable[Tool], path: str | os.PathLike[str]) -> Pins:
    """Approve the definitions of `tools` as they are now, and write them to `path`, replacing it whole."""
    definitions = {tool.resource: tool.definition() for tool in tools if not tool.resource.startswith(_LOCAL)}
    data = {"version": _VERSION, "tools": definitions}
    draft = Path(f"{os.fspath(path)}.new")
    draft.write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return Pins(definitions)


def diff(tools: Iterable[Tool], path: str | os.PathLike[str]) -> tuple[Change, ...]:
    """How `tools` differ from the lock file; empty if all is as it was approved.

    Raises:
        ToolConfigError: The file can't be read.
    """
    return Pins.load(path).diff(tools)


def _lines(resource: str, pinned: dict[str, Any] | None, live: dict[str, Any] | None) -> tuple[str, ...]:
    old, new = (
        [] if each is None else json.dumps(each, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
        for each in (pinned, live)
    )
    return tuple(unified_diff(old, new, f"{resource} (approved)", f"{resource} (now)", lineterm="", n=2))
