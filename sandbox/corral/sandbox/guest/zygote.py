"""PID 1 of the container: imports once, then forks a session whenever the host asks for one."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from . import egress, hooks, limits, seccomp, trees
from .folders import remove
from .hardening import become, harden, undumpable
from .preimports import preimport
from .session import Session
from .wire import PROTOCOL, Reader, Writer

__all__ = ["main", "run"]

_signal: Any = importlib.import_module("_signal")
# What `signal` wraps, without its enums: they would cost each session some fifty pages.

DESCRIPTORS = 4
"""What a session is opened with; see `link`."""


def main(path: str) -> NoReturn:
    """Connect to the host's socket at `path` and serve it."""

    def connect() -> socket.socket:
        host = socket.socket(socket.AF_UNIX)
        host.connect(path)
        return host

    run(connect, os.path.dirname(path))


def run(connect: Callable[[], socket.socket], folder: str) -> NoReturn:
    """Make ready, connect and serve; when the host goes, so does the container.

    Args:
        folder: Has our program.
    """
    token = os.environ.pop("CORRAL_TOKEN", "")
    if packages := os.environ.get("CORRAL_PACKAGES"):
        sys.path.append(packages)
    os.environ.clear()
    os.environ.update(
        PATH="/usr/local/bin:/usr/bin:/bin",
        LANG="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        MPLBACKEND="module://guest.figures",
    )
    undumpable()
    _drop_standard_streams()
    preimport(without=packages)
    host = connect()
    for network in (False, True):
        if platform.machine() in seccomp.MACHINES:
            seccomp.assemble(platform.machine(), network)
    gc.collect()
    gc.freeze()
    zygote = Zygote(host, folder)
    zygote.greet(token)
    zygote.serve()


def _drop_standard_streams() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


class Zygote:
    """Forks sessions, ends them, and tells the host when one dies.

    Args:
        folder: Has our program, and what the host puts beside it.
    """

    def __init__(self, host: socket.socket, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._relay = 0
        """The process that carries connections out; 0 is none."""
        self._reader = Reader(host, descriptors=True)
        self._writer = Writer(host)
        self._users = True
        """Whether sessions are users of their own; else they are ours, and known by descent."""
        self._sessions: dict[int, int] = {}
        self._removers: dict[int, int] = {}
        """Pids to session numbers: the sessions, and the children that delete the folder of one that was ended."""
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _only_wake)
        # While `_end` has a session's user, that session may signal us: what is ignored can't hurt. (PID 1 ignores all
        # that has no handler.)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def greet(self, token: str) -> None:
        self._writer.send(
            {
                "op": "hello",
                "token": token,
                "protocols": [PROTOCOL],
                "features": ["files", "threads", "await", "map", "copies", "artifacts"],
                "python": platform.python_version(),
                "machine": platform.machine(),
                "limits": limits.read_back(),
            }
        )
        try:
            welcome, _ = self._reader.next()
        except EOFError:
            sys.exit(0)
        if welcome.get("protocol") != PROTOCOL:
            sys.exit("the host speaks another protocol")
        self._users = bool(welcome["users"])
        if not self._users:
            trees.adopt_orphans()

    def serve(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._host, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        self._obey()  # what came in one piece with the welcome
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._woken.fileno():
                    self._reap()
                else:
                    self._receive()

    def _receive(self) -> None:
        try:
            self._reader.fill()
        except (EOFError, OSError):
            if not self._users:
                trees.kill_descendants()
            os._exit(0)
        self._obey()

    def _obey(self) -> None:
        while (frame := self._reader.take()) is not None:
            message, _ = frame
            getattr(self, "_" + message["op"])(message)  # the host is trusted here

    def _open(self, message: dict[str, Any]) -> None:
        descriptors = [self._reader.received.pop(0) for _ in range(DESCRIPTORS)]
        try:
            pid = self._fork()
        except OSError as error:
            self._writer.send({"op": "refused", "session": message["session"], "reason": f"fork: {error.strerror}"})
        else:
            if pid == 0:
                self._become_session(message, descriptors)
            self._sessions[pid] = message["session"]
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_session(self, message: dict[str, Any], descriptors: list[int]) -> NoReturn:
        try:  # whatever happens, this process must not return into the zygote's loop
            hooks.seed()
            self._let_go()
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            os.setsid()
            _run_session(message, descriptors, self._folder)
        finally:
            os._exit(70)

    def _let_go(self) -> None:
        signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        for ours in (self._host, self._woken, self._wake):
            ours.close()

    def _network(self, message: dict[str, Any]) -> None:
        """Open a port for sessions that may reach hosts."""
        with egress.listen() as listener:
            pid = self._fork()
            if pid == 0:
                self._become_relay(listener, message["uid"])
            self._relay = pid
            self._writer.send({"op": "network", "port": listener.getsockname()[1]})

    def _become_relay(self, listener: socket.socket, uid: int) -> NoReturn:
        try:
            self._let_go()
            if uid:
                become(uid)
            undumpable()
            egress.serve(listener, f"{self._folder}/{egress.SOCKET}")
        finally:
            os._exit(0)

    def _adopt(self, message: dict[str, Any]) -> None:
        """From now on `pid`, a copy of a session, is a session: its death is told."""
        pid = message["pid"]
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (ChildProcessError, OverflowError):  # it died before this came, or the host was told a lie
            self._writer.send({"op": "exited", "session": message["session"], "status": 0})
        else:
            self._sessions.setdefault(pid, message["session"])

    def _stop(self, message: dict[str, Any]) -> None:
        """Kill a session's process and nothing else: its checkpoint takes over."""
        self._kill(message["uid"], self._pids(message["session"]))

    def _end(self, message: dict[str, Any]) -> None:
        """Kill every process of a session's user, at once and even when no process can be forked; delete its folder.

        A session that shares its user and its folder with branches leaves both to them.
        """
        uid, pids = message["uid"], self._pids(message["session"])
        if not message["alone"]:
            self._kill(uid, [*pids, *(-pid for pid in pids)])
            self._writer.send({"op": "ended", "session": message["session"]})
            return
        if self._users:
            for pid in pids:
                with contextlib.suppress(OSError):  # refused as soon as it has its user, and then the next kill hits it
                    os.kill(pid, signal.SIGKILL)
            self._kill(uid, [-1])
        else:
            trees.kill_descendants(spare=self._relay)
        try:
            pid = self._fork()
        except OSError:  # full of another session's processes; what is left counts against `disk_bytes`
            self._writer.send({"op": "ended", "session": message["session"]})
            return
        if pid == 0:
            self._become_remover(uid, message["folder"])
        self._removers[pid] = message["session"]

    def _pids(self, session: int) -> list[int]:
        return [pid for pid, number in self._sessions.items() if number == session]

    def _kill(self, uid: int, pids: list[int]) -> None:
        """Kill as the session's user: we have no right to signal other users' processes."""
        if not self._users:
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            return
        # The real user too: with a real user 0, kill(-1) would also reach our own children that are still root.
        os.setresuid(uid, uid, 0)
        try:
            for pid in pids:
                with contextlib.suppress(OSError):  # there is none left
                    os.kill(pid, signal.SIGKILL)
        finally:
            os.setresuid(0, 0, 0)
            undumpable()  # a change of user resets it

    def _fork(self) -> int:
        """Fork, with some patience: the processes of a bomb that was just killed still have to be reaped."""
        for _ in range(100):
            try:
                return os.fork()
            except BlockingIOError:
                self._reap()
                time.sleep(0.005)
        return os.fork()

    def _become_remover(self, uid: int, folder: str) -> NoReturn:
        try:
            self._host.close()
            if self._users:
                become(uid)
            remove(folder)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (session := self._sessions.pop(pid, None)) is not None:
                self._writer.send({"op": "exited", "session": session, "status": status})
            elif (session := self._removers.pop(pid, None)) is not None:
                self._writer.send({"op": "ended", "session": session})


def _only_wake(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor does the work; without a handler the kernel would not signal at all."""


def _run_session(message: dict[str, Any], descriptors: list[int], program: str) -> None:
    try:
        applied = harden(
            message["uid"],
            message["folder"],
            message["limits"],
            message["readable"],
            message["may_lack"],
            network=bool(message["proxy"]),
        )
        os.environ["HOME"] = os.environ["TMPDIR"] = message["folder"]  # `update` would touch sixty pages more
        if message["proxy"]:
            os.environ.update(_way_out(message["proxy"], program))
        sys.path.insert(0, message["folder"])
        session = Session(descriptors, message, applied)
    except Exception as error:  # noqa: BLE001 - the host gets to know it
        reason = f"{type(error).__name__}: {error}"
        Writer(socket.socket(fileno=descriptors[0])).send({"op": "failed", "reason": reason})
        return
    session.serve()


def _way_out(port: int, program: str) -> dict[str, str]:
    """What HTTP clients look for in the environment."""
    proxy = f"http://127.0.0.1:{port}"
    names = ("http_proxy", "https_proxy", "all_proxy")
    found = {**dict.fromkeys(names, proxy), **dict.fromkeys([name.upper() for name in names], proxy)}
    certificates = f"{program}/{egress.CERTIFICATES}"
    if os.path.exists(certificates):
        found.update(SSL_CERT_FILE=certificates, REQUESTS_CA_BUNDLE=certificates)
    return found
