"""Words: what a query looks for in the text index."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

__all__ = ["STOPWORDS", "content_words", "fingerprint", "match_expression", "words"]

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][a-z]+)?")
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
    return [re.split("['\u2019]", word, maxsplit=1)[0] for word in _WORD.findall(text.lower())]


def content_words(query: str) -> list[str]:
    """The words worth looking for, in order and once each; all of them if there is nothing but function words."""
    found = list(dict.fromkeys(words(query)))
    return ([word for word in found if word not in STOPWORDS] or found)[:_MAX_QUERY_WORDS]


def match_expression(space: str | None, terms: Iterable[str]) -> str:
    """An FTS5 query for rows of `space`, or of all, with any of `terms`."""
    quoted = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
    return f"text : ({quoted})" if space is None else f'space : "{space}" AND text : ({quoted})'


def fingerprint(text: str) -> bytes:
    """16 bytes that are equal for texts that differ only in case, spacing and Unicode form."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()
