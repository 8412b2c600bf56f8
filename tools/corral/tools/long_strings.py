"""Long strings taken out of a JSON text while it arrives, so that it is never in memory whole."""

from __future__ import annotations

import codecs
import json
import re
import secrets
from collections import OrderedDict
from typing import Any, Final, cast

from corral.tools.long_text import LongText

__all__ = ["LONG", "LongStrings", "Sieve"]

LONG: Final = 256 * 1024
"""Characters from which on a string is a long one."""
_KEPT: Final = 64
_WHOLE: Final = re.compile(r'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""As many whole strings, and what stands between them, as there are."""
_INSIDE: Final = re.compile(r'(?:[^"\\]++|\\(?:u[0-9a-fA-F]{4}|[^u]))*+', re.DOTALL)
"""As much of the inside of a string as is whole."""
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_HIGH_SURROGATE: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_ESCAPE_LENGTH: Final = 6


class Sieve:
    """Takes a JSON text in pieces; keeps a skeleton of it, in which names stand for the long strings.

    Linear in the text, whatever is in it. Only pieces well below `LONG` make sense.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._skeleton: list[str] = []
        self._opened: list[str] | None = None
        self._opened_length = 0
        self._long: LongText | None = None
        self._rest = ""
        self.found: dict[str, LongText] = {}

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            ValueError: It is no UTF-8, or no JSON string.
            OSError: What is long can't be written.
        """
        self._take(self._decoder.decode(piece))

    def end(self) -> str:
        """The skeleton: JSON, if the text was.

        Raises:
            ValueError: The text ended inside a string.
        """
        self._take(self._decoder.decode(b"", True))
        if self._opened is not None or self._long is not None:
            raise ValueError("the text ends inside a string")
        return "".join(self._skeleton)

    def _take(self, text: str) -> None:
        at = 0
        while at < len(text) or self._rest:
            if self._opened is None and self._long is None:
                match = cast("re.Match[str]", _WHOLE.match(text, at))
                self._skeleton.append(match.group())
                at = match.end() + 1
                if match.end() == len(text):
                    return
                self._opened, self._opened_length = [], 0
                continue
            text, at, self._rest = self._rest + text[at:], 0, ""
            match = cast("re.Match[str]", _INSIDE.match(text))
            end = match.end()
            if end < len(text) and text[end] == '"':
                self._inside(text[:end])
                self._close()
                at = end + 1
                continue
            if end < len(text) and not _ESCAPE.fullmatch(text, end):
                raise ValueError("a string has a wrong escape")
            end = _before_half_a_pair(text, end)
            self._inside(text[:end])
            self._rest = text[end:]
            return

    def _inside(self, part: str) -> None:
        if self._opened is not None:
            self._opened.append(part)
            self._opened_length += len(part)
            if self._opened_length <= LONG:
                return
            part, self._opened, self._long = "".join(self._opened), None, LongText()
        if self._long is not None and part:
            self._long.add(json.loads(f'"{part}"'))

    def _close(self) -> None:
        if self._long is not None:
            name = f"long-text-{secrets.token_hex(16)}"
            self.found[name] = self._long
            self._skeleton.append(f'"{name}"')
        else:
            self._skeleton += ('"', *(self._opened or ()), '"')
        self._opened = self._long = None


class LongStrings:
    """The long strings of the messages of one server: in results of tools until they are taken, elsewhere put back.

    What nobody takes is forgotten when some dozens came after it.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, LongText] = OrderedDict()

    def message(self, skeleton: str, found: dict[str, LongText]) -> tuple[Any, bool]:
        """The JSON value, and whether it has names in it for texts to `take`: as a text block of a tool's result.

        Raises:
            ValueError: It is no JSON.
        """
        try:
            value = json.loads(skeleton)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        waiting = {name: found.pop(name) for name in _names_of_blocks(value) if name in found}
        if found:
            value = _put_back(value, {name: str(text) for name, text in found.items()})
        self._waiting.update(waiting)
        while len(self._waiting) > _KEPT:
            self._waiting.popitem(last=False)
        return value, bool(waiting)

    def take(self, name: str) -> LongText | None:
        """The text of this name, once; None for a text that is no name."""
        return self._waiting.pop(name, None)


def _before_half_a_pair(text: str, end: int) -> int:
    """`end`, or the place of the high surrogate before it, whose other half is still to come."""
    start = end - _ESCAPE_LENGTH
    if start < 0 or not _HIGH_SURROGATE.match(text, start):
        return end
    before = start
    while before > 0 and text[before - 1] == "\\":
        before -= 1
    return end if (start - before) % 2 else start


def _names_of_blocks(value: Any) -> list[str]:
    """The texts of a tool's result that may be names."""
    result = cast("dict[str, Any]", value).get("result") if isinstance(value, dict) else None
    content = cast("dict[str, Any]", result).get("content") if isinstance(result, dict) else None
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    found = [cast("dict[str, Any]", block).get("text") for block in blocks if isinstance(block, dict)]
    return [text for text in found if isinstance(text, str)]


def _put_back(value: Any, texts: dict[str, str]) -> Any:
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_put_back(each, texts) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        return {_put_back(key, texts): _put_back(each, texts) for key, each in named.items()}
    return value
