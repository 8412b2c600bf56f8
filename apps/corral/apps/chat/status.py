"""The status line: what the chat runs with, as much of it as the terminal is wide."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["status_line"]


def status_line(parts: Sequence[tuple[int, str]], width: int) -> str:
    """The parts beside each other, in their order; those of the greatest number go first where it is narrow."""
    kept = [(rank, text) for rank, text in parts if text]
    while len(kept) > 1 and len(_joined(kept)) > width:
        kept.remove(max(kept, key=lambda part: part[0]))
    return _joined(kept)[:width]


def _joined(parts: Sequence[tuple[int, str]]) -> str:
    return " · ".join(text for _, text in parts)
