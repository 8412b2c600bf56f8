"""Landlock: everything readable as the file modes allow, nothing writable but the session's own folder.

Source: landlock(7), include/uapi/linux/landlock.h. The three system calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct

from .libc import check, system_call

__all__ = ["confine"]

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
CREATE_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_VERSION_RIGHTS = (1 << 13) - 1
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1 << 0, 1 << 1


def confine(folder: str, readable: list[str] | None = None) -> int:
    """Give up writing outside `folder`, and reading outside it and `readable`, for good and for every child.

    Needs no_new_privs. None leaves all readable that file modes allow.

    Returns:
        The kernel's Landlock version; 0 if it has none, and then nothing was given up.
    """
    version = system_call(CREATE, None, ctypes.c_size_t(0), CREATE_VERSION)
    if version < 1:
        return 0
    rights = _rights(version)
    scoped = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", rights, 0, scoped)[: 24 if version >= 6 else 8]
    ruleset = check(system_call(CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock")
    try:
        for path in ["/"] if readable is None else readable:
            if os.path.exists(path):
                _allow(ruleset, path, EXECUTE | READ_FILE | (READ_DIR if os.path.isdir(path) else 0))
        _allow(ruleset, folder, rights & ~(MAKE_CHAR | MAKE_BLOCK))
        _allow(ruleset, "/dev/null", READ_FILE | WRITE_FILE)
        check(system_call(RESTRICT, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)
    return int(version)


def _rights(version: int) -> int:
    rights = FIRST_VERSION_RIGHTS
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        if version >= since:
            rights |= right
    return rights


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, beneath)
        check(system_call(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0), "landlock")
    finally:
        os.close(beneath)
