"""An answer that arrives in pieces, cut where Markdown allows it: what is whole can be printed, the rest grows."""

from __future__ import annotations

import re

__all__ = ["Blocks"]

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"^\s*([-*+]|\d{1,9}[.)])\s")


class Blocks:
    """Takes text as it comes; `growing` is the block that is not whole yet."""

    def __init__(self) -> None:
        self.growing = ""

    def feed(self, text: str) -> list[str]:
        """Add a piece; the blocks that are whole now."""
        self.growing += text
        whole: list[str] = []
        while (end := _end_of_block(self.growing)) is not None:
            block, self.growing = self.growing[:end], self.growing[end:].lstrip("\n")
            if block.strip():
                whole.append(block)
        return whole

    def end(self, most: int) -> str:
        """The last lines of what is growing, still inside of its fence if it has one."""
        lines = self.growing.split("\n")
        if len(lines) <= most:
            return self.growing
        return "\n".join([*(lines[:1] if _FENCE.match(lines[0]) else []), *lines[-most:]])

    def flush(self) -> str:
        """What is left, whole or not."""
        rest, self.growing = self.growing, ""
        return rest


def _end_of_block(text: str) -> int | None:
    """Where the first block ends: at an empty line outside of a fence, once it is known that no list goes on after."""
    fence = ""
    place = 0
    lines = text.splitlines(keepends=True)
    is_list = bool(_ITEM.match(text))
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and line.strip().startswith(fence) and not line.strip(" \n`~") else fence
        elif mark:
            fence = mark[1]
        elif not line.strip() and line.endswith("\n") and text[:place].strip():
            after = next((later for later in lines[number:] if later.strip()), None)
            if not is_list or (after is not None and after.endswith("\n") and not _goes_on(after)):
                return place
        place += len(line)
    return None


def _goes_on(line: str) -> bool:
    return bool(_ITEM.match(line)) or line[:1] in (" ", "\t")
