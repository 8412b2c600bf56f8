"""Which limits an engine that was asked for them has not put in force: a rootless one on cgroup v1 says nothing."""

from __future__ import annotations

from collections.abc import Mapping

from corral.sandbox.sandbox import Json, Limits

__all__ = ["WHOLE", "ignored"]

WHOLE = ("memory_bytes", "processes", "cpus", "disk_bytes")
"""The limits of a container as a whole; `open_files` is each session's own."""


def ignored(limits: Limits, seen: Mapping[str, Json]) -> tuple[str, ...]:
    """Names of limits that are not in force as asked, up to rounding; `seen` is what was read back."""
    return tuple(name for name in WHOLE if not _within(seen.get(name), getattr(limits, name), name))


def _within(value: Json, limit: float, name: str) -> bool:
    page = 4096 if name.endswith("_bytes") else 0
    return isinstance(value, int | float) and value <= limit * 1.01 + page
