"""What a forked session gives up before it runs a cell."""

from __future__ import annotations

import os
import platform
import resource
from typing import Any

from . import landlock, seccomp
from .libc import LIBC, read

__all__ = ["Refused", "become", "harden", "undumpable"]

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38


SCOPES_SIGNALS = 6
"""The Landlock version that keeps signals inside."""


class Refused(Exception):
    """A protection that must be there is not."""


def undumpable() -> None:
    """Let no other process trace this one, or read its memory, environment or descriptors in /proc."""
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def become(uid: int) -> None:
    """Be this user for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def harden(
    uid: int, folder: str, limits: dict[str, int], readable: list[str] | None, may_lack: list[str], *, network: bool
) -> dict[str, Any]:
    """Become `uid` (0: stay who we are), make `folder` and give up everything else.

    Args:
        network: Whether TCP sockets may be made, to reach a proxy on the loopback device.

    Returns:
        What is in force, by name; the host compares it with what it asked for.

    Raises:
        Refused: Landlock or seccomp is not to be had, and `may_lack` does not name it.
    """
    if uid:
        _die_first()
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
    if uid:
        become(uid)
    if os.geteuid() == 0 or os.getuid() == 0:
        raise Refused("a session must not be root")
    undumpable()
    os.umask(0o077)
    os.mkdir(folder, 0o700)
    os.chdir(folder)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    confined = landlock.confine(folder, readable)
    applied: dict[str, Any] = {"landlock": confined, "seccomp": seccomp.confine(platform.machine(), network)}
    if readable is not None and confined < SCOPES_SIGNALS:
        raise Refused("Landlock of Linux 6.12 or later is needed where sessions see other processes")
    for name, value in applied.items():
        if not value and name not in may_lack:
            raise Refused(f"{name} is not available here (kernel {platform.release()}, {platform.machine()})")
    return {**applied, **_read_back(limits)}


def _die_first() -> None:
    # When the container's memory is used up, the kernel ends sessions before the zygote.
    file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(file, b"1000")
    os.close(file)


def _read_back(limits: dict[str, int]) -> dict[str, Any]:
    status = read("/proc/thread-self/status")
    return {
        "uid": os.getresuid()[2],
        "no_new_privs": _field(status, b"NoNewPrivs") == 1,
        "capabilities": _field(status, b"CapPrm") | _field(status, b"CapEff"),
        "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in limits},
    }


def _field(status: bytes, name: bytes) -> int:
    """A hexadecimal field of proc(5)'s status; 0 if the kernel has none."""
    _, found, rest = status.partition(b"\n" + name + b":\t")
    return int(rest[: rest.index(b"\n")], 16) if found else 0
