"""Which process runs a run, so that one that was killed can be told from one that goes on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["running_process", "this_process"]


def this_process() -> str:
    """Names this process: host, process id and, where the system tells, when it started."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def running_process(owner: str | None) -> int | None:
    """The process id of `owner` if it still runs here; None also for one of another host, of which nothing is known.

    In a container the same few ids are given out again and again: another process with that id is not the owner. One
    that has ended and that nobody has asked after runs no more, though its id is still taken.
    """
    host, _, rest = (owner or "").partition(":")
    number, _, started = rest.partition(":")
    if host != socket.gethostname() or not number.isdecimal():
        return None
    pid = int(number)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    if _is_zombie(pid):
        return None
    return pid if not started or _started(pid) in ("", started) else None


def _started(pid: int) -> str:
    """Clock ticks from boot to the process's start, proc(5) field 22; empty where the system does not tell."""
    fields = _fields(pid)
    return fields[19] if fields else ""


def _is_zombie(pid: int) -> bool:
    fields = _fields(pid)
    return bool(fields) and fields[0] in "ZX"


def _fields(pid: int) -> list[str]:
    """What proc(5) says of a process after its name, from field 3 on; nothing where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
