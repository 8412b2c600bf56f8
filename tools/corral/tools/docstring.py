"""Parameters' descriptions in docstrings: Google, NumPy and Sphinx style."""

from __future__ import annotations

import inspect
import re
from typing import Final

__all__ = ["read_docstring"]

_GOOGLE: Final = re.compile(r"(?:Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments):\s*")
_NUMPY: Final = re.compile(r"(?:Other )?Parameters\s*")
_RULE: Final = re.compile(r"-{3,}\s*")
_SPHINX: Final = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_SPHINX_TYPE: Final = re.compile(r":type\s+\w+\s*:.*")
_ENTRY: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*(?:\([^)]*\)[^)]*)*\))?\s*:\s*(.*)")
_NUMPY_ENTRY: Final = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The docstring without what it says of parameters, and that by parameter name.

    Sections on what is returned or raised stay in the text: they are of use to whoever calls.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    kept: list[str] = []
    found: dict[str, str] = {}
    place = 0
    while place < len(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if _GOOGLE.fullmatch(lines[place]) and (following.startswith((" ", "\t")) or not following.strip()):
            place = _read_google(lines, place + 1, found)
        elif _NUMPY.fullmatch(lines[place]) and _RULE.fullmatch(following):
            place = _read_numpy(lines, place + 2, found)
        elif match := _SPHINX.fullmatch(lines[place]):
            place, more = _indented(lines, place + 1)
            found[match[1]] = _join([match[2], *more])
        elif _SPHINX_TYPE.fullmatch(lines[place]):
            place, _ = _indented(lines, place + 1)
        else:
            kept.append(lines[place])
            place += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), {name: said for name, said in found.items() if said}


def _read_google(lines: list[str], place: int, found: dict[str, str]) -> int:
    end, section = _indented(lines, place, blanks=True)
    name = ""
    indent = min((_depth(line) for line in section if line.strip()), default=0)
    for line in section:
        match = _ENTRY.fullmatch(line.strip()) if _depth(line) == indent else None
        if match:
            name = match[1]
            found[name] = match[2].strip()
        elif name:
            found[name] = _join([found[name], line])
    return end


def _read_numpy(lines: list[str], place: int, found: dict[str, str]) -> int:
    while place < len(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        match = _NUMPY_ENTRY.fullmatch(lines[place])
        if _RULE.fullmatch(following) or (lines[place].strip() and not match):
            return place
        place, more = _indented(lines, place + 1, blanks=True)
        if match:
            for name in match[1].split(","):
                found[name.strip()] = _join(more)
    return place


def _indented(lines: list[str], place: int, *, blanks: bool = False) -> tuple[int, list[str]]:
    """The place after the indented lines that begin at `place`, and these lines."""
    start = place
    while place < len(lines) and (lines[place].startswith((" ", "\t")) or (blanks and not lines[place].strip())):
        place += 1
    return place, lines[start:place]


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _join(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
