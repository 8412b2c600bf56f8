"""Tokens: how long a text is for a model, and cutting it to fit."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TokenCounter", "clip", "estimate_tokens"]

TokenCounter = Callable[[str], int]


def estimate_tokens(text: str) -> int:
    """About how many tokens a model makes of `text`: one for four bytes, as English has."""
    return len(text.encode()) // 4 + 1


def clip(text: str, tokens: int, count: TokenCounter) -> str:
    """`text` within `tokens`: cut in the middle, head and tail stay; empty where not even that fits."""
    if count(text) <= tokens:
        return text
    keep = len(text) * tokens // count(text)
    while keep > 0:
        mark = f" [... {len(text) - keep} characters cut ...] "
        tail = keep // 3
        cut = text[: keep - tail] + mark + text[len(text) - tail :]
        if count(cut) <= tokens:
            return cut
        keep = keep * 7 // 8
    return ""
