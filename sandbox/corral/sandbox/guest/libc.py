"""The C library, loaded once: to load it makes a class, which a fork of a session has no time for."""

from __future__ import annotations

import ctypes
import os

__all__ = ["LIBC", "check", "read", "system_call"]

LIBC = ctypes.CDLL(None, use_errno=True)

system_call = LIBC.syscall
system_call.restype = ctypes.c_long


def read(path: str) -> bytes:
    """A small file. `open` would make three objects and touch pages that a fork of a session still shares."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 64 * 1024)
    finally:
        os.close(file)


def check(result: int, what: str) -> int:
    """`result`, if the call has not failed.

    Raises:
        OSError: It has.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
