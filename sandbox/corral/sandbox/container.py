"""One hardened container and the zygote in it, from start to removal."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
from anyio import to_thread

from corral.sandbox import folder as folders
from corral.sandbox import greetings
from corral.sandbox.channel import Channel
from corral.sandbox.errors import SandboxError, SandboxGone, SandboxUnavailable
from corral.sandbox.flags import RELAY_UID, Settings, program
from corral.sandbox.housing import Housing
from corral.sandbox.inforce import ignored
from corral.sandbox.network import Network
from corral.sandbox.sandbox import Json, Limits
from corral.sandbox.tunnel import Tunnel
from corral.sandbox.wire import PROTOCOL, Frame
from corral.sandbox.worker import Descriptors, Died, Worker

if TYPE_CHECKING:
    from corral.sandbox.egress import Egress

__all__ = ["Container"]

START_TIMEOUT = 30.0
REPLY_TIMEOUT = 10.0
REMOVE_TIMEOUT = 20.0

FIRST_UID, UIDS = 20_000, 40_000
"""Users that no system has and that a remapped user namespace still reaches; a session's is not used again soon."""

RECOVER_TIMEOUT = 2.0


class Container:
    """Forks sessions. Made by `start`; `close` removes it and everything in it."""

    def __init__(self, housing: Housing, settings: Settings, limits: Limits) -> None:
        self._housing = housing
        self._terms = housing.terms(limits)
        self._settings = settings
        self._limits = limits
        self._id = ""
        self._creating: asyncio.Future[str] | None = None
        """Goes on when `start` is cancelled, so that we learn the id of what has to be removed."""
        self._folder: Path | None = None
        self._tunnel: Tunnel | None = None
        self._channel: Channel | None = None
        self._egress: Egress | None = None
        self._proxy: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The port on the loopback device of the container that leads to `_egress`."""
        self._workers: dict[int, Worker] = {}
        self._numbers = itertools.count(1)
        self._uids = (FIRST_UID + n % UIDS for n in itertools.count(secrets.randbelow(UIDS)))
        self._closed = False
        self.python = self.machine = ""
        """Version of the interpreter in it, and its `platform.machine()`."""
        self.ignored: tuple[str, ...] = ()
        """Names of limits that are not in force."""
        self.lost = False
        """Whether the container has ended, by us or under us."""

    @property
    def id(self) -> str:
        """The engine's id, whole."""
        return self._id

    @classmethod
    async def start(cls, housing: Housing, settings: Settings, limits: Limits, label: str) -> Self:
        """Create a container and wait for its zygote.

        Raises:
            SandboxUnavailable: It did not come up; nothing is left of it.
        """
        self = cls(housing, settings, limits)
        try:
            await self._start(label)
        except BaseException:
            await self.close()
            raise
        return self

    async def _start(self, label: str) -> None:
        token = secrets.token_hex(16)
        start = self._start_attached if self._housing.attached else self._start_beside
        try:
            with anyio.fail_after(START_TIMEOUT):
                zygote, hello = await start(label, token)
        except TimeoutError as error:
            raise SandboxUnavailable(f"the sandbox container did not answer in {START_TIMEOUT:g} s") from error
        self.python, self.machine = hello.python, hello.machine
        self.ignored = ignored(self._limits, hello.limits) if self._terms.whole else ()
        self._channel = Channel(zygote, self._receive, self._zygote_lost, blob_limit=0)
        self._channel.send({"op": "welcome", "protocol": PROTOCOL, "users": self._terms.users})

    async def _start_beside(self, label: str, token: str) -> tuple[socket.socket, greetings.Hello]:
        """Start it with a folder of this machine, in which our socket is."""
        self._folder = await to_thread.run_sync(folders.make)
        with folders.listen(self._folder) as listener:
            await self._create(label, token)
            await to_thread.run_sync(self._housing.start, self._id)
            zygote = await greetings.accept(listener, token, self._check_running)
        await to_thread.run_sync(folders.unlink_socket, self._folder)
        return zygote

    async def _start_attached(self, label: str, token: str) -> tuple[socket.socket, greetings.Hello]:
        """Start it with nothing of this machine, and tunnel all through its stdin and stdout."""
        await self._create(label, token)
        sent = await to_thread.run_sync(program)
        sock: socket.socket | None = None
        with anyio.CancelScope(shield=True):  # or nobody would close what it returns
            sock = await to_thread.run_sync(self._housing.attach, self._id)
        assert sock is not None
        self._tunnel = Tunnel(sock, sent)
        zygote = self._tunnel.zygote
        try:
            await to_thread.run_sync(self._housing.start, self._id)
            hello = await greetings.greet(zygote, token, patience=START_TIMEOUT)
            if hello is None:
                await self._check_running()
                raise SandboxUnavailable(f"the sandbox container said nothing of use: {self._tunnel.complaint}")
        except BaseException:
            zygote.close()
            raise
        return zygote, hello

    async def _create(self, label: str, token: str) -> None:
        making = to_thread.run_sync(self._housing.create, self._limits, label, token, self._folder)
        self._creating = asyncio.ensure_future(making)
        self._id = await asyncio.shield(self._creating)

    async def _check_running(self) -> None:
        if problem := await to_thread.run_sync(self._housing.problem, self._id):
            raise SandboxUnavailable(problem)

    async def fork(self) -> Worker:
        """A new session's process, with no names and no files.

        Raises:
            SandboxUnavailable: It could not be started, or lacks a protection.
            SandboxGone: The container has ended.
        """
        if self.lost or self._channel is None:
            raise SandboxGone("the sandbox container has ended")
        worker = self._make_worker(self._uid(), f"{self._terms.folders}/corral-{secrets.token_hex(6)}")
        try:
            self._channel.send_descriptors(self._open_request(worker), worker.files.guest)
        except OSError as error:
            await self.discard(worker)
            raise SandboxGone("the sandbox container has ended") from error
        return await self._came_up(worker)

    async def open_network(self, network: Network) -> None:
        """Give the sessions that are forked from now on a way out.

        Raises:
            SandboxUnavailable: Nothing holds them but the lack of a network, or it could not be opened.
            SandboxGone: The container has ended.
        """
        if not self._terms.own_network:
            raise SandboxUnavailable("sessions that reach hosts need Docker or bubblewrap; here all would be open")
        if self.lost or self._channel is None:
            raise SandboxGone("the sandbox container has ended")
        from corral.sandbox.egress import Egress  # here because few need it, and h11 takes 20 ms to import

        self._egress = await Egress.open(network, self._folder)
        if self._tunnel is not None:
            self._tunnel.dialed = self._egress.serve
        self._channel.send({"op": "network", "uid": RELAY_UID if self._terms.users else 0})
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await asyncio.shield(self._proxy)
        except TimeoutError as error:
            raise SandboxUnavailable("the sandbox container opened no port for its proxy") from error

    async def recover(self, worker: Worker) -> Worker | None:
        """The copy that was made of a session after its last cell, which takes the place of the session, now dead or
        dying; None if there is none."""
        if self.lost or not (worker.used and self._settings.checkpoint_bytes):
            return None
        heir = self._make_worker(worker.uid, worker.folder)
        heir.inherited = True
        try:
            worker.pass_on(
                {"op": "resume", "alone": self._terms.users and self._is_alone(worker, heir)}, heir.files.guest
            )
            heir.files.close_guest()
            with anyio.fail_after(RECOVER_TIMEOUT):
                self._check_applied(heir, await heir.ready)
        except (TimeoutError, OSError, SandboxError):
            self._forget(heir)
            return None
        except BaseException:
            self._forget(heir)
            raise
        self._adopt(heir)
        self._forget(worker)
        return heir

    async def branch(self, worker: Worker) -> Worker:
        """A copy of a living session between two cells, with names of its own; it shares the folder.

        Raises:
            SandboxUnavailable: It could not be copied.
        """
        copy = self._make_worker(worker.uid, worker.folder)
        copy.inherited = copy.used = True
        try:
            worker.pass_on({"op": "branch"}, copy.files.guest)
        except OSError as error:
            self._forget(copy)
            raise SandboxUnavailable("the session could not be copied: it does not listen") from error
        worker.channel.send({"op": "branch"})
        await self._came_up(copy)
        self._adopt(copy)
        return copy

    def _uid(self) -> int:
        """A user for a session; 0 leaves it the zygote's own, which is not root's then."""
        return next(self._uids) if self._terms.users else 0

    def _make_worker(self, uid: int, folder: str) -> Worker:
        number = next(self._numbers)
        worker = Worker(number, uid, folder, self._limits, Descriptors(self._limits.output_bytes), self._kill)
        worker.channel.lingers = self._tunnel is None
        self._workers[number] = worker
        return worker

    async def _came_up(self, worker: Worker) -> Worker:
        worker.files.close_guest()
        try:
            with anyio.fail_after(REPLY_TIMEOUT):
                self._check_applied(worker, await worker.ready)
        except TimeoutError as error:
            await self.discard(worker)
            raise SandboxUnavailable(f"a session did not come up in {REPLY_TIMEOUT:g} s") from error
        except SandboxGone as error:
            await self.discard(worker)
            if self.lost:
                raise
            raise SandboxUnavailable(f"a session could not be started: {error}") from error
        except BaseException:
            await self.discard(worker)
            raise
        return worker

    def _adopt(self, worker: Worker) -> None:
        if self._channel is not None:
            self._channel.send({"op": "adopt", "session": worker.number, "pid": worker.pid})

    def _is_alone(self, *workers: Worker) -> bool:
        """Whether no session but these has their user."""
        return all(other in workers or other.folder != workers[0].folder for other in self._workers.values())

    def _forget(self, worker: Worker) -> None:
        self._workers.pop(worker.number, None)
        worker.close()

    def _open_request(self, worker: Worker) -> dict[str, Json]:
        return {
            "op": "open",
            "session": worker.number,
            "uid": worker.uid,
            "folder": worker.folder,
            "output_bytes": self._limits.output_bytes,
            "artifact_bytes": self._limits.artifact_bytes,
            "checkpoint_bytes": self._settings.checkpoint_bytes,
            "limits": dict(self._terms.rlimits),
            "readable": self._terms.readable and [*self._terms.readable, str(self._folder)],
            "may_lack": sorted(self._settings.may_lack),
            "proxy": self._proxy.result() if self._egress else 0,
        }

    def _check_applied(self, worker: Worker, applied: Mapping[str, Json]) -> None:
        wanted = {"no_new_privs": True, "capabilities": 0, "limits": dict(self._terms.rlimits)}
        if self._terms.users:
            wanted["uid"] = worker.uid
        missing = [name for name, value in wanted.items() if applied.get(name) != value]
        missing += [
            name for name in ("landlock", "seccomp") if not applied.get(name) and name not in self._settings.may_lack
        ]
        if missing:
            raise SandboxUnavailable(f"a session came up without {', '.join(missing)}, so it was refused")

    async def discard(self, worker: Worker) -> None:
        """Kill a session and everything it started; when the zygote does not say it did, the container goes too."""
        if worker.number not in self._workers:
            return
        worker.kill("the session was closed")
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(REPLY_TIMEOUT) as waiting:
                if not self.lost:
                    await worker.ended.wait()
            self._forget(worker)
            if waiting.cancelled_caught:
                await self.close()

    async def close(self) -> None:
        """Remove the container; what it still runs is lost. Done within a deadline, also when cancelled."""
        if self._closed:
            return
        self._closed = True
        self._zygote_lost(None)
        if self._egress is not None:
            await self._egress.close()
        if self._tunnel is not None:
            self._tunnel.close()
        with anyio.move_on_after(REMOVE_TIMEOUT, shield=True):
            if self._creating is not None:
                # Is the engine gone, the zygote still ended with its channel, and a later sweep removes the rest.
                with contextlib.suppress(SandboxUnavailable):
                    self._id = await self._creating
                    await to_thread.run_sync(self._housing.remove, self._id, abandon_on_cancel=True)
            if self._folder is not None:
                await to_thread.run_sync(folders.remove, self._folder)
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    # What the zygote says.

    def _receive(self, frame: Frame) -> None:
        match frame[0]:
            case {"op": "exited", "session": int(number), "status": int(status)} if number in self._workers:
                self._workers[number].died(Died(status))
            case {"op": "ended", "session": int(number)} if number in self._workers:
                self._workers[number].ended.set()
            case {"op": "refused", "session": int(number), "reason": str(reason)} if number in self._workers:
                self._workers[number].died(SandboxGone(reason))
            case {"op": "network", "port": int(port)} if not self._proxy.done():
                self._proxy.set_result(port)
            case _:
                pass  # of a session that we have already given up

    def _kill(self, worker: Worker, wholly: bool) -> None:
        if self._channel is None or self._channel.closed:
            worker.ended.set()
            return
        request = {"session": worker.number, "uid": worker.uid}
        if wholly:
            alone = self._is_alone(worker)
            self._channel.send({"op": "end", **request, "folder": worker.folder, "alone": alone})
        else:
            self._channel.send({"op": "stop", **request})

    def _zygote_lost(self, error: SandboxError | None) -> None:
        self.lost = True
        if not self._proxy.done():
            self._proxy.set_exception(SandboxGone("the sandbox container has ended"))
            self._proxy.exception()  # nobody may be waiting, and that is fine
        if self._channel is not None:
            self._channel.close()
        for worker in self._workers.values():
            worker.ended.set()
            worker.died(error or SandboxGone("the sandbox container has ended"))
