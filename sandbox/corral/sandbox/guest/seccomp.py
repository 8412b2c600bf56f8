"""A seccomp filter on top of the engine's own: what no cell has a use for, and kernels have had holes in.

Sources: seccomp(2), linux/filter.h; numbers from the kernel's syscall tables (arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct

from .libc import LIBC, check

__all__ = ["MACHINES", "assemble", "confine"]

# name -> (x86_64, aarch64)
DENIED = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setns": (308, 268),
    "shmget": (29, 194),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
SOCKET = (41, 198)

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""platform.machine() -> column of the tables, AUDIT_ARCH of the kernel."""

X32_BIT = 0x40000000
AF_UNIX, AF_INET = 1, 2
SOCK_STREAM, SOCK_TYPE_MASK = 1, 0xF
IPPROTO_TCP = 6
# CLONE_NEWTIME shares its bit with the signal mask of clone(2), where it cannot be asked for.
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT, THIRD_ARGUMENT = (
    0,
    4,
    16,
    24,
    32,
)  # offsets in struct seccomp_data, little-endian
KILL, ALLOW, FAIL = 0x80000000, 0x7FFF0000, 0x00050000

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]


def confine(machine: str, network: bool) -> bool:
    """Install the filter for this process and its children, for good; False on a machine we have no table for.

    Args:
        network: Whether they may make TCP sockets (IPv4), too.
    """
    if machine not in MACHINES:
        return False
    fprog, _ = assemble(machine, network)
    check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0), "seccomp")
    return True


@functools.cache
def assemble(machine: str, network: bool) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    """The filter as prctl takes it, and the memory that it points to; made before a session needs it."""
    column, architecture = MACHINES[machine]
    program = _program(column, architecture, network)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }, padded to the pointer
    return ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer))), buffer


def _program(column: int, architecture: int, network: bool) -> list[Instruction]:
    return [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL),
        *(step for numbers in DENIED.values() for step in _fail(numbers[column], errno.EPERM)),
        # clone3 passes its flags in memory, which a filter cannot read: without it libc falls back to clone.
        *_fail(CLONE3[column], errno.ENOSYS),
        (EQUAL, 0, 4, CLONE[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, FAIL | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
        *_sockets(SOCKET[column], network),
        (RETURN, 0, 0, ALLOW),
    ]


def _sockets(number: int, network: bool) -> list[Instruction]:
    tcp = [
        (EQUAL, 0, 6, AF_INET),
        (LOAD, 0, 0, SECOND_ARGUMENT),
        (AND, 0, 0, SOCK_TYPE_MASK),
        (EQUAL, 0, 3, SOCK_STREAM),
        (LOAD, 0, 0, THIRD_ARGUMENT),
        (EQUAL, 2, 0, 0),
        (EQUAL, 1, 0, IPPROTO_TCP),
    ]
    asked = tcp if network else []
    return [
        (EQUAL, 0, 3 + len(asked), number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 1 + len(asked), 0, AF_UNIX),
        *asked,
        (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
    ]


def _fail(number: int, code: int) -> tuple[Instruction, Instruction]:
    return (EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | code)
