"""One hardened container and the zygote in it, from start to removal."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import anyio
from anyio import to_thread

from corral.sandbox import folder as folders
from corral.sandbox.channel import Channel
from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxError, SandboxGone, SandboxProtocolError, SandboxUnavailable
from corral.sandbox.flags import Settings, container_config, host_config
from corral.sandbox.sandbox import Json, Limits
from corral.sandbox.wire import PROTOCOL, Decoder, Frame
from corral.sandbox.worker import Descriptors, Died, Worker

__all__ = ["Container"]

START_TIMEOUT = 30.0
REPLY_TIMEOUT = 10.0
REMOVE_TIMEOUT = 20.0

FIRST_UID, UIDS = 20_000, 40_000
"""Users that no system has and that a remapped user namespace still reaches; a session's is not used again soon."""

RESERVED_PROCESSES = 4
"""Kept free of any one session, for the zygote."""


class Container:
    """Forks sessions. Made by `start`; `close` removes it and everything in it."""

    def __init__(self, engine: Engine, settings: Settings, limits: Limits) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = limits
        self._id = ""
        self._creating: asyncio.Future[str] | None = None
        """Goes on when `start` is cancelled, so that we learn the id of what has to be removed."""
        self._folder: Path | None = None
        self._channel: Channel | None = None
        self._workers: dict[int, Worker] = {}
        self._numbers = itertools.count(1)
        self._uids = (FIRST_UID + n % UIDS for n in itertools.count(secrets.randbelow(UIDS)))
        self._closed = False
        self.lost = False
        """Whether the container has ended, by us or under us."""

    @property
    def id(self) -> str:
        """The engine's id, whole."""
        return self._id

    @classmethod
    async def start(cls, engine: Engine, settings: Settings, limits: Limits, label: str) -> Self:
        """Create a container and wait for its zygote.

        Raises:
            SandboxUnavailable: It did not come up; nothing is left of it.
        """
        self = cls(engine, settings, limits)
        try:
            await self._start(label)
        except BaseException:
            await self.close()
            raise
        return self

    async def _start(self, label: str) -> None:
        token = secrets.token_hex(16)
        self._folder = await to_thread.run_sync(folders.make)
        with folders.listen(self._folder) as listener:
            config = container_config(self._settings, label, token, self._folder)
            limits = host_config(self._settings, self._limits, self._folder)
            self._creating = asyncio.ensure_future(to_thread.run_sync(self._engine.create, config, limits))
            self._id = await asyncio.shield(self._creating)
            await to_thread.run_sync(self._engine.start, self._id)
            zygote = await self._accept(listener, token)
        self._channel = Channel(zygote, self._receive, self._zygote_lost, blob_limit=0)
        self._channel.send({"op": "welcome", "protocol": PROTOCOL})
        await to_thread.run_sync(folders.unlink_socket, self._folder)

    async def _accept(self, listener: socket.socket, token: str) -> socket.socket:
        """The zygote's connection: the one that knows the token and speaks our protocol."""
        loop = asyncio.get_running_loop()
        with anyio.move_on_after(START_TIMEOUT):
            while True:
                zygote = None
                with anyio.move_on_after(1.0):
                    zygote, _ = await loop.sock_accept(listener)
                if zygote is None:
                    await self._check_running()
                    continue
                try:
                    hello = await _read_frame(zygote)
                except BaseException:
                    zygote.close()
                    raise
                if hello.get("op") == "hello" and secrets.compare_digest(str(hello.get("token")), token):
                    _check_protocol(hello, zygote)
                    return zygote
                zygote.close()
        raise SandboxUnavailable(
            f"the sandbox container did not answer in {START_TIMEOUT:g} s; does the engine run on this machine? "
            "(It has to share its file system.)"
        )

    async def _check_running(self) -> None:
        state = (await to_thread.run_sync(self._engine.inspect, self._id)).get("State", {})
        if not state.get("Running"):
            raise SandboxUnavailable(
                f"the sandbox container ended at once (status {state.get('ExitCode', 'unknown')}); "
                f"is {self._settings.image} an image with python3? `corral sandbox build` makes one"
            )

    async def fork(self) -> Worker:
        """A new session's process, ready for cells.

        Raises:
            SandboxUnavailable: It could not be started, or lacks a protection.
            SandboxGone: The container has ended.
        """
        if self.lost or self._channel is None:
            raise SandboxGone("the sandbox container has ended")
        files = Descriptors(self._limits.output_bytes)
        number = next(self._numbers)
        worker = Worker(number, next(self._uids), f"/tmp/{secrets.token_hex(6)}", self._limits, files, self._end)
        self._workers[number] = worker
        try:
            try:
                self._channel.send_descriptors(self._open_request(worker), files.guest)
            except OSError as error:
                raise SandboxGone("the sandbox container has ended") from error
            finally:
                files.close_guest()
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

    def _open_request(self, worker: Worker) -> dict[str, Json]:
        return {
            "op": "open",
            "session": worker.number,
            "uid": worker.uid,
            "folder": worker.folder,
            "output_bytes": self._limits.output_bytes,
            "limits": self._rlimits(),
            "may_lack": sorted(self._settings.may_lack),
        }

    def _rlimits(self) -> dict[str, int]:
        return {
            "NOFILE": self._limits.open_files,
            "NPROC": max(1, self._limits.processes - RESERVED_PROCESSES),
            "CORE": 0,
        }

    def _check_applied(self, worker: Worker, applied: Mapping[str, Json]) -> None:
        wanted = {"uid": worker.uid, "no_new_privs": True, "capabilities": 0, "limits": self._rlimits()}
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
            self._workers.pop(worker.number, None)
            worker.close()
            if waiting.cancelled_caught:
                await self.close()

    async def close(self) -> None:
        """Remove the container; what it still runs is lost. Done within a deadline, also when cancelled."""
        if self._closed:
            return
        self._closed = True
        self._zygote_lost(None)
        with anyio.move_on_after(REMOVE_TIMEOUT, shield=True):
            if self._creating is not None:
                # Is the engine gone, the zygote still ended with its channel, and a later sweep removes the rest.
                with contextlib.suppress(SandboxUnavailable):
                    self._id = await self._creating
                    await to_thread.run_sync(self._engine.remove, self._id, abandon_on_cancel=True)
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
            case _:
                pass  # of a session that we have already given up

    def _end(self, worker: Worker) -> None:
        if self._channel is None or self._channel.closed:
            worker.ended.set()
            return
        self._channel.send({"op": "end", "session": worker.number, "uid": worker.uid, "folder": worker.folder})

    def _zygote_lost(self, error: SandboxError | None) -> None:
        self.lost = True
        if self._channel is not None:
            self._channel.close()
        for worker in self._workers.values():
            worker.ended.set()
            worker.died(error or SandboxGone("the sandbox container has ended"))


async def _read_frame(sock: socket.socket) -> dict[str, Json]:
    """The first frame on a new connection; {} if it hangs up, sends nothing for long, or sends something else."""
    sock.setblocking(False)
    decoder = Decoder(0)
    loop = asyncio.get_running_loop()
    with anyio.move_on_after(5.0):
        try:
            while data := await loop.sock_recv(sock, 4096):
                for message, _ in decoder.feed(data):
                    return message
        except (OSError, SandboxProtocolError):
            pass
    return {}


def _check_protocol(hello: Mapping[str, Json], zygote: socket.socket) -> None:
    spoken = hello.get("protocols")
    if not isinstance(spoken, list) or PROTOCOL not in spoken:
        zygote.close()
        raise SandboxUnavailable(f"the guest speaks protocol {spoken}, this Corral speaks {PROTOCOL}")
