"""Attacks on files, processes, the network and the kernel."""

from __future__ import annotations

from corral.sandbox.attacks.attack import Attack, AttackKind, Held, refused, syscall

__all__ = ["FILES", "KERNEL", "NETWORK", "PROCESSES"]

FILES = (
    *refused(
        AttackKind.FILESYSTEM,
        "open('/evil', 'w')",
        "open('/etc/passwd', 'a')",
        "open('/tmp/evil', 'w')",
        "import os; os.symlink('/etc', '/tmp/evil')",
        "import os; os.mknod('disk', 0o60600, os.makedev(8, 0))",
        "import os; os.chroot('.')",
        "import os; os.link('/etc/passwd', '/tmp/passwd')",
        "import os; os.rename('/etc/passwd', '/etc/passwd2')",
        "import os; os.chmod('/etc/passwd', 0o777)",
        "import os; os.truncate('/etc/passwd', 0)",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "open('/proc/sysrq-trigger', 'w')",
        "open('/dev/mem', 'rb')",
        "open('/dev/sda', 'rb')",
        "import os; os.symlink('/etc/shadow', 's'); open('s')",
    ),
    *refused(
        AttackKind.FILESYSTEM,
        "open('/run/corral/guest/session.py', 'a')",
        "open('/run/corral/owner.json').read()",
        "import os; os.mkdir('/dev/shm/x')",
        container=True,
    ),
)

PROCESSES = (
    *refused(
        AttackKind.PROCESS,
        "open('/proc/1/environ').read()",
        "open('/proc/1/mem', 'rb')",
        "open('/proc/1/mem', 'r+b')",
        "import os; os.listdir('/proc/1/fd')",
        "open('/proc/1/fd/1', 'w')",
        "import os; os.kill(1, 9)",
        "open('/proc/self/oom_score_adj', 'w').write('-1000')",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))",
        "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))",
        "import os; os.nice(-5)",
    ),
    *refused(
        AttackKind.PROCESS,
        "import os; os.setuid(0)",
        "import os; os.seteuid(0)",
        "import os; os.setgid(0)",
        "import os; os.setgroups([0])",
        container=True,
    ),
    Attack(AttackKind.PROCESS, "kill(-1)", "import os\nos.kill(-1, 9)", Held.ANYHOW, container=True),
    Attack(AttackKind.PROCESS, "SIGSTOP to itself", "import os\nos.kill(os.getpid(), 19)", Held.STOPPED, timeout=0.2),
    Attack(
        AttackKind.PROCESS,
        "ignores every signal",
        "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
        Held.STOPPED,
        timeout=0.2,
    ),
    Attack(
        AttackKind.PROCESS,
        "swallows every exception",
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
        Held.STOPPED,
        timeout=0.2,
    ),
    Attack(
        AttackKind.PROCESS,
        "gains a right by running a program",
        "import subprocess\n"
        "out = subprocess.run(['/bin/cat', '/proc/self/status'], capture_output=True, text=True).stdout\n"
        "'NoNewPrivs:\\t1' in out and 'CapEff:\\t0000000000000000' in out",
        Held.VALUE,
        True,
    ),
)

NETWORK = (
    *refused(
        AttackKind.NETWORK,
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import socket; socket.socket(socket.AF_INET)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "import socket; socket.socket(socket.AF_INET6)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "import socket; socket.socket(31)  # AF_BLUETOOTH",
        "import socket; socket.socket(38)  # AF_ALG",
        "import socket; socket.socket(29)  # AF_CAN",
        "import socket; socket.socket(44)  # AF_XDP",
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/corral/host.sock')",
        "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        "import socket; socket.getaddrinfo('example.com', 80)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)",
        "import subprocess; subprocess.run(['/bin/bash', '-c', 'echo > /dev/tcp/192.0.2.1/80'], check=True)",
    ),
)

KERNEL = (
    syscall("ptrace", (101, 117), (16, 1, 0, 0)),
    syscall("process_vm_readv", (310, 270), (1, 0, 0, 0, 0, 0)),
    syscall("process_vm_writev", (311, 271), (1, 0, 0, 0, 0, 0)),
    syscall("mount", (165, 40), (0, 0, 0, 0, 0)),
    syscall("umount2", (166, 39), (0, 0)),
    syscall("pivot_root", (155, 41), (0, 0)),
    syscall("unshare user namespace", (272, 97), (0x10000000,)),
    syscall("setns", (308, 268), (0, 0)),
    syscall("clone user namespace", (56, 220), (0x10000000, 0, 0, 0, 0)),
    syscall("clone3, whose flags no filter can see", (435, 435), (0, 0), "ENOSYS"),
    syscall("bpf", (321, 280), (0, 0, 0)),
    syscall("perf_event_open", (298, 241), (0, 0, 0, 0, 0)),
    syscall("io_uring_setup", (425, 425), (1, 0)),
    syscall("userfaultfd", (323, 282), (0,)),
    syscall("keyctl", (250, 219), (0, 0, 0, 0, 0)),
    syscall("add_key", (248, 217), (0, 0, 0, 0, 0)),
    syscall("open_by_handle_at", (304, 265), (0, 0, 0)),
    syscall("shmget", (29, 194), (1, 4096, 0o1666)),
    syscall("mq_open", (240, 180), (0, 0, 0, 0)),
    syscall("personality", (135, 92), (0x0040000,)),
    syscall("fsopen", (430, 430), (0, 0)),
    syscall("open_tree", (428, 428), (0, 0, 0)),
    syscall("pidfd_getfd", (438, 438), (0, 0, 0)),
    syscall("memfd_secret", (447, 447), (0,)),
    syscall("kcmp", (312, 272), (1, 1, 0, 0, 0)),
    Attack(
        AttackKind.KERNEL,
        "a system call of another ABI",
        "import ctypes, platform\nctypes.CDLL(None).syscall(0x40000000 + 39)\n"
        "assert platform.machine() == 'x86_64'\nimport os\nos.abort()",
        Held.STOPPED,
    ),
)
