"""Attacks on a session beside the attacker's."""

from __future__ import annotations

from corral.sandbox.attacks.attack import AttackKind, refused, syscall

__all__ = ["SESSIONS"]

SESSIONS = (
    *refused(
        AttackKind.SESSIONS,
        "open('VICTIM_FOLDER/secret').read()",
        "import os; os.listdir('VICTIM_FOLDER')",
        "open('VICTIM_FOLDER/new', 'w')",
        "import os; os.rmdir('VICTIM_FOLDER')",
        "import os; os.rename('VICTIM_FOLDER', 'mine')",
        "import os; os.kill(VICTIM_PID, 0)",
        "import os; os.kill(VICTIM_PID, 9)",
        "open('/proc/VICTIM_PID/environ').read()",
        "open('/proc/VICTIM_PID/mem', 'rb')",
        "import os; os.listdir('/proc/VICTIM_PID/fd')",
        "import os; os.readlink('/proc/VICTIM_PID/cwd')",
        "import os; os.pidfd_open(VICTIM_PID); import signal; signal.pidfd_send_signal(os.pidfd_open(VICTIM_PID), 9)",
        "import socket; socket.socket(socket.AF_UNIX).connect('\\0victim-VICTIM_PID')",
    ),
    *refused(AttackKind.SESSIONS, "import os; os.setuid(VICTIM_UID)", container=True),
    syscall("ptrace another session", (101, 117), (16, 2, 0, 0)),
)
