"""Whether a value stands in a text: exactly, normalised, as a part of a sentence, or decoded from what stands there."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast
from urllib.parse import unquote

__all__ = ["ADDRESS", "LINK", "Stated", "leaves", "normalise", "parts", "words"]

_LOCAL = r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]"
# Lengths are bounded: searching a text whose words have no end would take the square of its length.
ADDRESS = re.compile(rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}@[a-z0-9-]{{1,63}}(?:\.[a-z0-9-]{{1,63}}){{1,10}}", re.I)
LINK = re.compile(
    r"(?:https?://|www\.)[^\s'\"<>)\]]+|\b(?:[a-z0-9-]{1,63}\.){1,10}(?:com|net|org|io|ly|co|info|biz|dev|app|me|xyz|ru|cn)"
    r"(?:/[^\s'\"<>)\]]*)?",
    re.I,
)
_MOST = 2_000_000
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){6,}")
_PART = re.compile(r"[\n,;:|]+|\s{2,}|\t")


def normalise(value: Any) -> str:
    """A value as it is compared: compatibility forms, case, space and the scheme of a URL make no difference."""
    text = unicodedata.normalize("NFKC", str(value)).casefold()
    text = re.sub(r"https?://", "", text)
    return re.sub(r"\s+", " ", text).strip().rstrip("/.")


def leaves(value: Any) -> Iterator[Any]:
    """The single values in a JSON value, keys included: they too can say something."""
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from leaves(item)
    elif value is not None:
        yield value


def parts(text: str) -> Iterator[str]:
    """A text and the pieces it is plainly made of: lines, list items, what stands before and after a colon."""
    yield text
    for piece in _PART.split(text):
        if piece.strip():
            yield piece.strip(" -*•\"'")


def words(text: str) -> set[str]:
    """The words of a text, normalised."""
    return set(re.findall(r"\w+", normalise(text)))


def _decoded(text: str) -> Iterator[str]:
    """What encoded pieces of a text stand for."""
    if "%" in text:
        yield unquote(text)
    for piece in _ENCODED.findall(text):
        padded = piece + "=" * (-len(piece) % 4)
        for altchars in (None, b"-_"):
            try:
                yield base64.b64decode(padded, altchars, validate=True).decode()
            except (binascii.Error, ValueError):
                continue
    for piece in _HEX.findall(text):
        try:
            yield bytes.fromhex(piece).decode()
        except ValueError:
            continue
    yield codecs.decode(text, "rot13")


def _stands_in(wanted: str, text: str) -> bool:
    """Whether it stands there between characters that end words and addresses; a regular expression would be compiled
    for each value."""
    at = text.find(wanted)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(wanted) : at + len(wanted) + 2]
        if not _joins(before, "@.-/+") and not _joins(after[:1], "@-+") and not _goes_on(after):
            return True
        at = text.find(wanted, at + 1)
    return False


def _joins(character: str, joiners: str) -> bool:
    return character != "" and (character.isalnum() or character == "_" or character in joiners)


def _goes_on(after: str) -> bool:
    return len(after) == 2 and after[0] in "./?#&=" and (after[1].isalnum() or after[1] == "_")


class Stated:
    """Texts of one origin, and what they state. Of each, two million characters are looked at.

    They are taken apart when something is asked, not when they are added: most runs never ask.
    """

    def __init__(self) -> None:
        self._raw: dict[str, None] = {}
        self._read = 0
        self._normal: list[str] = []
        self._from_codes: list[str] = []
        self._all_words: set[str] = set()

    @property
    def texts(self) -> list[str]:
        """The texts as they were added."""
        return list(self._raw)

    def add(self, text: str) -> None:
        """Take in one more text; one that is there already, such as a session's instructions, adds nothing."""
        self._raw[text[:_MOST]] = None

    @property
    def words(self) -> set[str]:
        """Their words, normalised."""
        self._take_apart()
        return self._all_words

    @property
    def _texts(self) -> list[str]:
        self._take_apart()
        return self._normal

    @property
    def _decoded(self) -> list[str]:
        self._take_apart()
        return self._from_codes

    def _take_apart(self) -> None:
        for text in islice(self._raw, self._read, None):
            self._normal.append(normalise(text))
            self._all_words |= words(text)
            self._from_codes.extend(normalise(found) for found in _decoded(text))
        self._read = len(self._raw)

    def states(self, value: Any, *, plainly: bool = False) -> bool:
        """Whether `value` stands there as a whole word or address, never as a part of a longer one.

        Args:
            plainly: So that a person finds it there: nothing is decoded.
        """
        wanted = normalise(value)
        if not wanted:
            return True
        texts = self._texts if plainly else (*self._texts, *self._decoded)
        return any(_stands_in(wanted, text) for text in texts)

    def mentions_id(self, value: Any) -> bool:
        """As `states`; a short one only where the text calls it a number or an id."""
        wanted = normalise(value)
        if len(wanted) >= 5:
            return self.states(wanted)
        if not any(wanted in text for text in self._texts):
            return False
        named = re.compile(r"(?:\bids?\b|\bnumbers?\b|\bno\.|#)\W*(?:\w+\W+){0,2}?" + re.escape(wanted) + r"(?!\w)")
        return any(named.search(text) for text in self._texts)

    def names_any(self, intents: list[str]) -> bool:
        """Whether a word or phrase of `intents` stands in the texts; one that ends with "*" is a word's beginning."""
        phrases = "|".join(
            re.escape(normalise(intent.rstrip("*"))) + ("" if intent.endswith("*") else r"\b") for intent in intents
        )
        return any(re.search(rf"\b(?:{phrases})", text) for text in self._texts)

    def names_kind(self, kind: re.Pattern[str]) -> bool:
        """Whether a value of this kind stands somewhere in the texts."""
        return any(kind.search(text) for text in self._raw)
