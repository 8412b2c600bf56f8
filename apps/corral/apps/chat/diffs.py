"""Edits of files as differences, whatever the tool calls its arguments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from rich.text import Text

from corral.apps.terminal import printable

__all__ = ["Edit", "is_difference", "shown"]

_PAIRS = (("oldText", "newText"), ("old_text", "new_text"), ("old_str", "new_str"), ("old_string", "new_string"))
_LISTS = ("edits", "changes", "replacements")
_WHOLE = ("content", "contents", "file_text", "new_content")
_PATHS = ("path", "file_path", "file", "filename", "target_file")
_UNIFIED = re.compile(r"^--- .*\n\+\+\+ .*\n@@ ", re.MULTILINE)


@dataclass(frozen=True)
class Edit:
    """What a call would change in a file.

    Attributes:
        difference: Unified. A file that is written whole is all new lines: what it held before was not looked at.
        others: The arguments that the difference does not tell of.
    """

    difference: str
    others: Mapping[str, Any]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Edit | None:
        """The edit that these arguments make; None if they make none."""
        name = next((name for name in _PATHS if isinstance(arguments.get(name), str)), None)
        if name is None:
            return None
        path = arguments[name]
        for keys, lines in _readings(path, arguments):
            if lines:
                others = {key: value for key, value in arguments.items() if key not in (name, *keys)}
                return cls("\n".join(lines), others)
        return None


def is_difference(text: str) -> bool:
    """Whether a tool's answer holds a unified difference."""
    return _UNIFIED.search(text) is not None


def shown(difference: str) -> Text:
    """A difference in its colours."""
    text = Text()
    for line in printable(difference).split("\n"):
        style = "dim" if line.startswith(("+++", "---", "@@")) else {"+": "added", "-": "removed"}.get(line[:1], "")
        text.append(line + "\n", style)
    text.rstrip()
    return text


def _readings(path: str, arguments: Mapping[str, Any]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Ways to read the arguments as an edit: the names that it takes in, and its lines."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    for pair in _PAIRS:
        if (lines := _unified(path, pair, arguments)) is not None:
            found.append((pair, lines))
    for name in _LISTS:
        if (several := _several(path, arguments.get(name))) is not None:
            found.append(((name,), several))
    for name in _WHOLE:
        if isinstance(arguments.get(name), str):
            found.append(((name,), [f"+++ {path}", *(f"+{line}" for line in arguments[name].split("\n"))]))
    return found


def _several(path: str, listed: Any) -> list[str] | None:
    """The lines of a list of edits, each of which is a pair and nothing else; None if it is not that."""
    lines: list[str] = []
    for one in cast("list[Any]", listed) if isinstance(listed, list) else [None]:
        edit = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
        pair = next((pair for pair in _PAIRS if set(edit) == set(pair)), None)
        made = _unified(path, pair, edit) if pair is not None else None
        if made is None:
            return None
        lines += made
    return lines


def _unified(path: str, pair: tuple[str, str], edit: Mapping[str, Any]) -> list[str] | None:
    old, new = edit.get(pair[0]), edit.get(pair[1])
    if not isinstance(old, str) or not isinstance(new, str):
        return None
    return list(difflib.unified_diff(old.split("\n"), new.split("\n"), path, path, lineterm=""))
