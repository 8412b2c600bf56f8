"""Sessions on this Linux without Docker: under bubblewrap, or held by Landlock, seccomp and rlimits alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from corral.sandbox import folder as folders
from corral.sandbox.container import Container
from corral.sandbox.errors import SandboxUnavailable
from corral.sandbox.flags import CHECKPOINT_BYTES, Settings, boot
from corral.sandbox.housing import Terms
from corral.sandbox.pool import Sizes
from corral.sandbox.pools import Pools
from corral.sandbox.sandbox import Limits, SandboxSpec
from corral.sandbox.session import DockerSandbox

__all__ = ["LinuxProvider", "LinuxSandbox"]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/proc")

FIRST_USER = 0x70000000
"""From here on no system gives users out (systemd's UIDS-GIDS.md); a zygote that root starts becomes one of them."""


class LinuxSandbox(DockerSandbox):
    """Like a Docker session, in a process of its own."""

    @property
    def name(self) -> str:
        return "linux"


class LinuxProvider:
    """Opens each session in a process tree of its own, with the same guest as in Docker.

    With bubblewrap a session sees no process but its own, no file but the system's, and no network device. Without, it
    may see processes and read the system's files, and Landlock (of Linux 6.12 or later) and seccomp keep it from
    touching them. In neither is there a limit on memory and processors as a whole: `Limits.memory_bytes` holds for each
    process, `cpus` is not enforced, `processes` and `disk_bytes` only as far as rlimits go. Not protected from either
    way: holes in the kernel.

    Args:
        bubblewrap: Its path; None looks for it, "" does without.
        checkpoints: Copy sessions after each cell, so that a crash costs one cell and not all names.
    """

    def __init__(self, *, bubblewrap: str | None = None, checkpoints: bool = True) -> None:
        self._settings = Settings("", frozenset(), None, CHECKPOINT_BYTES if checkpoints else 0)
        self._bubblewrap = bubblewrap
        self._housing: Processes | None = None
        self._pools = Pools(self._start, Sizes(ready=0, sessions=1))

    @property
    def name(self) -> str:
        return "linux"

    @property
    def has_bubblewrap(self) -> bool:
        return bool(shutil.which("bwrap") if self._bubblewrap is None else self._bubblewrap)

    @property
    def opens_network(self) -> bool:
        return self.has_bubblewrap

    @property
    def instructions(self) -> str:
        return (
            "Code runs as CPython on Linux, in a session that keeps its names and files from cell to cell. "
            "There is no network; only the standard library is installed, and only the working folder can be written. "
            "The last expression's value comes back as in a notebook, and `await` works at top level."
        )

    async def open(self, spec: SandboxSpec | None = None) -> LinuxSandbox:
        spec = spec or SandboxSpec()
        # A key for each session: containers of one are never shared, and end with it.
        alone = replace(spec, trust=secrets.token_hex(8))
        place, worker = await (await self._pools.here()).enter(alone)
        return LinuxSandbox(place, worker, spec)

    async def _start(self, limits: Limits, label: str) -> Container:
        if self._housing is None:
            if sys.platform != "linux":
                raise SandboxUnavailable("this sandbox needs Linux; use Monty here")
            await to_thread.run_sync(folders.sweep)
            self._housing = await to_thread.run_sync(Processes.find, self._bubblewrap)
        return await Container.start(self._housing, self._settings, limits, label)

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._pools.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


class Processes:
    """Zygotes as processes of this machine."""

    def __init__(self, python: str, prefix: str, bubblewrap: str) -> None:
        self._python = python
        self._prefix = prefix
        self._bubblewrap = bubblewrap
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def find(cls, bubblewrap: str | None) -> Self:
        """Look for an interpreter that an unprivileged user can start, and for bubblewrap.

        Raises:
            SandboxUnavailable: There is no such interpreter.
        """
        if bubblewrap is None:
            bubblewrap = shutil.which("bwrap") or ""
        for python, prefix in (
            (getattr(sys, "_base_executable", sys.executable), sys.base_prefix),
            ("/usr/bin/python3", "/usr"),
        ):
            command = [python, "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 9))"]
            try:
                if _spawn(command, {}).wait() == 0:
                    return cls(python, prefix, bubblewrap)
            except OSError:
                pass
        raise SandboxUnavailable("no Python (3.9 or later) that a sandbox's user could start; install python3")

    @property
    def attached(self) -> bool:
        return False

    def attach(self, id: str) -> socket.socket:
        raise NotImplementedError("processes of this machine share its files")

    def create(self, limits: Limits, label: str, token: str, folder: Path | None) -> str:
        assert folder is not None
        python = [self._python, "-I", "-S", "-B", "-c", boot(str(folder))]
        command = [*self._walls(folder, limits), *python] if self._bubblewrap else python
        environment = {"CORRAL_TOKEN": token, "PATH": "/usr/bin:/bin"}
        try:
            process = _spawn(command, environment)
        except OSError as error:
            raise SandboxUnavailable(f"no process for a sandbox could be started: {error}") from error
        id = f"{process.pid:x}".rjust(12, "0")
        self._running[id] = process
        return id

    def start(self, id: str) -> None:
        pass

    def problem(self, id: str) -> str:
        status = self._running[id].poll()
        if status is None:
            return ""
        return f"the sandbox's process ended at once (status {status}); does bubblewrap work here?"

    def remove(self, id: str) -> None:
        process = self._running.pop(id, None)
        if process is None:
            return
        # The channel is closed by now: the zygote ends what it started, and then itself.
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def terms(self, limits: Limits) -> Terms:
        rlimits = {
            "NOFILE": limits.open_files,
            "NPROC": limits.processes,
            "CORE": 0,
            "DATA": limits.memory_bytes,
            "FSIZE": limits.disk_bytes,
        }
        if self._bubblewrap:
            return Terms(False, rlimits)
        if os.geteuid() != 0:  # there it counts everything that this user runs
            del rlimits["NPROC"]
        readable = (*SYSTEM, *SETTINGS, *DEVICES, self._prefix)
        return Terms(False, rlimits, readable, own_network=False)

    def _walls(self, folder: Path, limits: Limits) -> list[str]:
        seen = [*SYSTEM, *SETTINGS, self._prefix, str(folder)]
        return [
            self._bubblewrap,
            "--unshare-all",
            # Not --die-with-parent: the parent it means is the thread that started it, and worker threads come and go.
            # The zygote ends when its channel does, and as the first process of its namespace it takes all with it.
            "--as-pid-1",
            "--new-session",
            "--cap-drop",
            "ALL",
            *("--size", str(limits.disk_bytes), "--tmpfs", "/tmp"),
            *(word for path in seen for word in ("--ro-bind-try", path, path)),
            *("--proc", "/proc", "--dev", "/dev"),
            "--",
        ]


def _spawn(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a program with nothing of ours; if we are root, as a user that nothing belongs to."""
    uid = FIRST_USER + secrets.randbelow(2**24) if os.geteuid() == 0 else None
    return subprocess.Popen(
        command,
        env=environment,
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
