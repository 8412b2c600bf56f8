"""A summary without a model: the sentences of a text that say most of it, in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from corral.memory.lexical import STOPWORDS, words
from corral.memory.tokens import TokenCounter

__all__ = ["summarise"]

_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_MAX_SENTENCE: Final = 240
_MAX_SENTENCES: Final = 200
_REPETITION: Final = 4.0
_DECISION: Final = re.compile(
    r"\b(?:decided?|decision|agreed|chose|will|must|should|never|always|because|instead|failed|error|result|found|done"
    r"|answer|plan|todo|deadline|password|prefers?)\b",
    re.IGNORECASE,
)
_EXACT: Final = re.compile(r"\d|https?://|[\w-]+\.[a-z]{2,4}\b|[A-Z]{2,}")


def summarise(said: Sequence[tuple[str, str]], goal: str, tokens: int, count: TokenCounter) -> str:
    """What `said` (role and text) comes to, in about `tokens`: decisions, figures and what touches `goal` come first.

    Empty if there was nothing to say, or no room to say it.
    """
    sentences = [(role, s.strip()[:_MAX_SENTENCE]) for role, text in said for s in _SENTENCE.split(text) if s.strip()]
    if not sentences:
        return ""
    heading = f"[{len(said)} earlier messages, in their own sentences]"
    terms = [frozenset(word for word in words(s) if word not in STOPWORDS and word.isalpha()) for _, s in sentences]
    wanted = frozenset(words(goal)) - STOPWORDS
    worth = {
        index: _worth(role, sentence) + len(terms[index] & wanted) + index / len(sentences)
        for index, (role, sentence) in enumerate(sentences)
    }
    left = tokens - count(heading)
    chosen: list[int] = []
    # What each is worth beside those chosen so far: kept, as reckoning it anew each time is the square of it.
    waiting = dict.fromkeys(sorted(worth, key=worth.__getitem__, reverse=True)[:_MAX_SENTENCES], 0.0)
    while waiting:
        index = max(waiting, key=lambda i: worth[i] - _REPETITION * waiting[i])
        del waiting[index]
        role, sentence = sentences[index]
        cost = count(f"{role}: {sentence}\n")
        if cost <= left:
            chosen.append(index)
            left -= cost
            for other, overlap in waiting.items():
                waiting[other] = max(overlap, _overlap(terms[other], terms[index]))
    lines = [f"{sentences[index][0]}: {sentences[index][1]}" for index in sorted(chosen)]
    return "\n".join((heading, *lines)) if lines else ""


def _worth(role: str, sentence: str) -> float:
    return 3.0 * bool(_DECISION.search(sentence)) + 1.0 * bool(_EXACT.search(sentence)) - 1.0 * (role == "tool")


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0
