"""Names under which tools of many sources stand side by side."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from corral.tools.errors import ToolConfigError
from corral.tools.tool import Tool

__all__ = ["MAX_NAME", "check_source_name", "distinguish", "matches", "spell"]

MAX_NAME: Final = 64
"""Characters that every provider's function calling takes in a tool's name."""


def check_source_name(kind: str, name: str) -> None:
    """Raise if a source can't be called so: `kind` is what it is, for the message.

    Raises:
        ToolConfigError: It can't stand in a resource, or is the name of the program's own functions.
    """
    if not name or not name.isprintable() or "/" in name or name == "local":
        raise ToolConfigError(f"{kind} {name!r}", "a source's name is printable, has no '/' and is not 'local'")


def spell(source: str, raw: str) -> str:
    """A name for the tool `raw` of `source`: both parts, as a Python identifier.

    Two tools may get one name; a name that had to be cut ends in a hash of the tool's resource.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", f"{source}_{raw}")
    name = f"_{name}" if name[0].isdigit() else name
    return name if len(name) <= MAX_NAME else _mark(name, f"tool:{source}/{raw}")


def distinguish(tools: Sequence[Tool]) -> list[Tool]:
    """The same tools, where those that share a name carry a hash of their resource; local functions keep theirs.

    The names depend on the set of tools only, not on its order.
    """
    shared = {name for name, count in Counter(tool.name for tool in tools).items() if count > 1}
    return [
        tool.renamed(_mark(tool.name, tool.resource))
        if tool.name in shared and not tool.resource.startswith("tool:local/")
        else tool
        for tool in tools
    ]


def matches(tool: Tool, patterns: Iterable[str]) -> bool:
    """Whether one of the globs fits the tool's name or resource."""
    return any(fnmatchcase(tool.name, pattern) or fnmatchcase(tool.resource, pattern) for pattern in patterns)


def _mark(name: str, resource: str) -> str:
    digest = hashlib.sha1(resource.encode(), usedforsecurity=False).hexdigest()[:6]
    return f"{name[: MAX_NAME - 7]}_{digest}"
