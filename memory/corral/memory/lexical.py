"""Words: what a query looks for, and what the text index is told of a text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

__all__ = ["STOPWORDS", "content_words", "fingerprint", "index_text", "index_word", "words"]

_WORD: Final = re.compile(r"([^\W_]+)(?:['\u2019][a-z]+)?")
_ACCENT: Final = re.compile("[\u0300-\u036f]")
_MAX_QUERY_WORDS: Final = 48

_FUNCTION_WORDS: Final = (
    "a about am an and any are as at be because been before being but by can could did do does done for from get got "
    "had has have he her hers him his how i if in into is it its just me my of on or our she should so some than that "
    "the their them then there these they this those to up us was we were what when where which while who whom whose "
    "why will with would you your"
)
STOPWORDS: Final = frozenset(_FUNCTION_WORDS.split())


def words(text: str) -> list[str]:
    """The words of `text`, lower case, without a possessive or contracted ending."""
    return _WORD.findall(text.lower())


def content_words(query: str) -> list[str]:
    """The words worth looking for, in order and once each; all of them if there is nothing but function words."""
    found = list(dict.fromkeys(words(unicodedata.normalize("NFC", query))))
    return ([word for word in found if word not in STOPWORDS] or found)[:_MAX_QUERY_WORDS]


def index_word(space: str, trusted: bool, word: str) -> str:
    """`word` as the text index knows it.

    Each namespace has words of its own there, and its quarantined rows others: what is rare or common among one
    tells nothing of another, and a small namespace is searched as fast in a large store as in a small one.
    """
    return f"{space}{'t' if trusted else 'q'}{_folded(word)}"


def index_text(space: str, trusted: bool, text: str) -> tuple[str, int]:
    """`text` as the index is told of it, and how many words it has.

    What was added under these words can only be deleted under them: another way of making them is a migration.
    """
    found = words(_folded(text))
    return " ".join([f"{space}{'t' if trusted else 'q'}{word}" for word in found]), len(found)


def _folded(text: str) -> str:
    """Without the accents of Latin, Greek and Cyrillic letters."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text)))


def fingerprint(text: str) -> bytes:
    """16 bytes that are equal for texts that differ only in case, spacing and Unicode form."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()
