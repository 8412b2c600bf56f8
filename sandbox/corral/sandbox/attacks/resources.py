"""Attacks that use up what there is."""

from __future__ import annotations

from corral.sandbox.attacks.attack import Attack, AttackKind, Held

__all__ = ["RESOURCES"]

RESOURCES = (
    Attack(
        AttackKind.RESOURCE,
        "fork bomb",
        "import os, time\nfor n in range(10_000):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)",
        container=True,
    ),
    Attack(
        AttackKind.RESOURCE,
        "fork bomb of children that fork",
        "import os\nwhile True:\n    try:\n        if os.fork() == 0:\n            os.setsid()\n"
        "    except OSError:\n        pass",
        Held.STOPPED,
        timeout=0.5,
        container=True,
    ),
    Attack(
        AttackKind.RESOURCE,
        "thread bomb",
        "import threading\nevent = threading.Event()\nthreads = []\ntry:\n"
        "    for n in range(10_000):\n        threads.append(threading.Thread(target=event.wait, daemon=True))\n"
        "        threads[-1].start()\nfinally:\n    event.set()",
        container=True,
    ),
    Attack(
        AttackKind.RESOURCE,
        "memory bomb",
        "hoard = []\nwhile True:\n    hoard.append(bytearray(b'x' * 10_000_000))",
        Held.ANYHOW,
        timeout=20,
    ),
    Attack(
        AttackKind.RESOURCE,
        "memory bomb in children",
        "import os\nfor n in range(8):\n    if os.fork() == 0:\n        hoard = bytearray(b'x' * 60_000_000)\n"
        "        os._exit(0)\nfor n in range(8):\n    os.wait()",
        Held.ANYHOW,
        timeout=20,
        container=True,
    ),
    Attack(AttackKind.RESOURCE, "fills the disk", "open('big', 'wb').write(b'x' * 20_000_000)", container=True),
    Attack(
        AttackKind.RESOURCE,
        "reserves the disk",
        "import os\nf = os.open('sparse', os.O_RDWR | os.O_CREAT)\nos.posix_fallocate(f, 0, 1 << 30)",
        container=True,
    ),
    Attack(
        AttackKind.RESOURCE,
        "uses up the inodes",
        "for n in range(100_000):\n    open(str(n), 'w').close()",
        timeout=20,
        container=True,
    ),
    Attack(AttackKind.RESOURCE, "uses up descriptors", "files = [open('/dev/null') for n in range(100_000)]"),
    Attack(AttackKind.RESOURCE, "endless output", "while True:\n    print('x' * 1000)", Held.STOPPED, timeout=0.3),
    Attack(
        AttackKind.RESOURCE,
        "endless output of a subprocess",
        "import subprocess\nsubprocess.run(['/usr/bin/yes']).returncode",
        Held.ANYHOW,
        timeout=1,
    ),
    Attack(
        AttackKind.RESOURCE,
        "a regular expression without end",
        "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
        Held.STOPPED,
        timeout=0.2,
    ),
    Attack(AttackKind.RESOURCE, "an int without end", "9 ** 9 ** 9 ** 9", Held.STOPPED, timeout=0.2),
    Attack(AttackKind.RESOURCE, "deep recursion", "def f():\n    f()\nf()"),
    Attack(AttackKind.RESOURCE, "a huge value", "len('x' * 50_000_000)", Held.ANYHOW),
    Attack(
        AttackKind.RESOURCE,
        "a repr that loops",
        "class Odd:\n    def __repr__(self):\n        while True:\n            pass\nOdd()",
        Held.STOPPED,
        timeout=0.2,
    ),
    Attack(
        AttackKind.RESOURCE,
        "shows without end",
        "while True:\n    display(b'\\x89PNG\\r\\n' + b'x' * 1_000_000)",
    ),
)
