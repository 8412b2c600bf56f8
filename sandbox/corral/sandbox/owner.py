"""Which process a container belongs to, so that what a killed process left behind can be told from what is in use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["OWNER", "PID_NAMESPACE", "is_dead", "labels", "pid"]

OWNER = "corral.owner"
PID_NAMESPACE = "corral.owner.pidns"


def labels() -> dict[str, str]:
    """Labels that name this process: its pid, when it started, and the boot and pid namespace these hold in."""
    pid = os.getpid()
    return {OWNER: f"{pid}:{_started(pid)}:{_boot()}", PID_NAMESPACE: _pid_namespace()}


def pid(labels: Mapping[str, str]) -> int | None:
    """The pid that labels name, in its own namespace."""
    word = labels.get(OWNER, "").partition(":")[0]
    return int(word) if word.isdecimal() else None


def is_dead(labels: Mapping[str, str]) -> bool:
    """Whether the process that made a container with these labels is surely gone.

    False when that can't be told: a process of another pid namespace, say of a container that shares the engine.
    """
    pid, _, rest = labels.get(OWNER, "").partition(":")
    started, _, boot = rest.partition(":")
    if not (pid.isdecimal() and started and boot):
        return False
    if boot != _boot():
        return True
    if labels.get(PID_NAMESPACE) != _pid_namespace():
        return False
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """Clock ticks from boot to the process's start, proc(5) field 22; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> str:
    return str(os.readlink("/proc/self/ns/pid"))
