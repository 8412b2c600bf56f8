"""What an attack is, and two common kinds of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from corral.sandbox.sandbox import Json

__all__ = ["Attack", "AttackKind", "Held", "refused", "syscall"]


class AttackKind(StrEnum):
    """What an attack is after."""

    RESOURCE = "resource"
    FILESYSTEM = "filesystem"
    PROCESS = "process"
    KERNEL = "kernel"
    NETWORK = "network"
    PROTOCOL = "protocol"
    SESSIONS = "sessions"


class Held(StrEnum):
    """How a session that holds ends an attack."""

    REFUSED = "refused"
    """The cell fails with an error of its own."""
    VALUE = "value"
    """The cell says how it failed, by `Attack.value`."""
    STOPPED = "stopped"
    """The cell is interrupted, or its process killed."""
    BROKEN = "broken"
    """The host closes the session for breaking the protocol."""
    ANYHOW = "anyhow"
    """Whatever comes of the cell, it ends."""


@dataclass(frozen=True)
class Attack:
    """Code, and how a session that holds ends it. In every case a second session in the same place must not notice.

    Attributes:
        code: VICTIM_PID, VICTIM_UID and VICTIM_FOLDER in it are those of the second session; the tool `ask` and SUBMIT
            (of `answer`) are bound.
        container: Whether only a container promises to hold it: processes and a user of one's own, a bounded disk.
    """

    kind: AttackKind
    name: str
    code: str
    held: Held = Held.REFUSED
    value: Json = None
    timeout: float = 5.0
    container: bool = False


def refused(kind: AttackKind, *codes: str, container: bool = False) -> Iterable[Attack]:
    for code in codes:
        name = code.removeprefix("import os; ").removeprefix("import socket; ")
        yield Attack(kind, name, code, container=container)


SYSCALL = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
number = {{"x86_64": {0}, "aarch64": {1}}}[platform.machine()]
result = libc.syscall(number, *{arguments})
[result, errno.errorcode.get(ctypes.get_errno())]
"""


def syscall(name: str, numbers: tuple[int, int], arguments: tuple[int, ...], error: str = "EPERM") -> Attack:
    code = SYSCALL.format(*numbers, arguments=arguments)
    return Attack(AttackKind.KERNEL, name, code, Held.VALUE, [-1, error])
