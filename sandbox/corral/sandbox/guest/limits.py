"""The limits that the kernel has in force for this container, where its cgroup is the root of what it sees."""

from __future__ import annotations

import os

from .libc import read

__all__ = ["read_back"]


def read_back() -> dict[str, float | None]:
    """By the names of the host's `Limits`, version 2 of cgroups before version 1; None where there is none."""
    cpu = _words("cpu.max") or _words("cpu/cpu.cfs_quota_us") + _words("cpu/cpu.cfs_period_us")
    quota, period = _number(cpu), _number(cpu[1:])
    disk = os.statvfs("/tmp")
    return {
        "memory_bytes": _number(_words("memory.max") or _words("memory/memory.limit_in_bytes")),
        "processes": _number(_words("pids.max") or _words("pids/pids.max")),
        "cpus": quota / period if quota and period and quota > 0 else None,
        "disk_bytes": disk.f_blocks * disk.f_frsize,
    }


def _words(path: str) -> list[bytes]:
    try:
        return read("/sys/fs/cgroup/" + path).split()
    except OSError:
        return []


def _number(words: list[bytes]) -> int | None:
    return int(words[0]) if words and words[0].lstrip(b"-").isdigit() else None
