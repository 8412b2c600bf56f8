"""A session's process as the host sees it: its channel, how to interrupt it, and what it printed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from corral.sandbox.channel import Channel
from corral.sandbox.errors import SandboxFileError, SandboxGone, SandboxProtocolError
from corral.sandbox.printed import Printed
from corral.sandbox.sandbox import Json, Limits
from corral.sandbox.wire import Frame

__all__ = ["Descriptors", "Died", "Worker"]

JUNK_LIMIT = 64
"""Frames of no running cell that are overlooked, since a cell's leftovers may send some; then the worker is killed."""

F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 1, 2, 4
PAGE = 4096


@dataclass(frozen=True)
class Died:
    """The process ended, by itself or killed by us; `status` is wait(2)'s, None if nobody said."""

    status: int | None = None
    reason: str = "the session's process died"

    def __str__(self) -> str:
        if self.status is None:
            return self.reason
        if signal := self.status & 0x7F:
            hint = " (out of memory?)" if signal == 9 else ""
            return f"the session's process was killed by signal {signal}{hint}"
        return f"the session's process exited with status {self.status >> 8}"


class Descriptors:
    """The four open files of a session: ours, and the guest's ends to hand over."""

    def __init__(self, output_bytes: int) -> None:
        import fcntl  # here because Windows has none, where this room is imported for Monty

        self.channel, guest_channel = socket.socketpair()
        self.control, guest_control = socket.socketpair()
        self.control.setblocking(False)
        self.passing, guest_passing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.passing.setblocking(False)
        self.output = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.output_size = -(-output_bytes // PAGE) * PAGE
        os.ftruncate(self.output, self.output_size)
        # The guest can fill it and overwrite it, never make it larger than we are ready to read.
        fcntl.fcntl(self.output, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
        self._guest = (guest_channel, guest_control, guest_passing)

    @property
    def guest(self) -> list[int]:
        channel, control, passing = (end.fileno() for end in self._guest)
        return [channel, control, self.output, passing]

    def close_guest(self) -> None:
        for end in self._guest:
            end.close()

    def close(self) -> None:
        self.close_guest()
        self.channel.close()
        self.control.close()
        self.passing.close()
        os.close(self.output)


class Worker:
    """One forked process. `dead` says why it can run no more cells; None while it can.

    Args:
        number: The session's number in its container.
        kill: Asks the zygote to kill it: all that it started too, or the process alone.
    """

    def __init__(
        self,
        number: int,
        uid: int,
        folder: str,
        limits: Limits,
        files: Descriptors,
        kill: Callable[[Worker, bool], None],
    ) -> None:
        self.number = number
        self.uid = uid
        self.folder = folder
        self.pid = 0
        """In the container, as the guest says."""
        self.inherited = False
        """Whether it is the copy of another session: nobody says how it died before it was ready."""
        self.used = False
        """Whether there is anything in it to lose."""
        self.kept: dict[str, str] = {}
        """Large texts that it has, by name."""
        self.limits = limits
        self.files = files
        self.dead: Died | Exception | None = None
        self.ended = asyncio.Event()
        """Set when the zygote has killed every process of the session."""
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[dict[str, Json]] = loop.create_future()
        self.receive_cell: Callable[[Frame], bool] | None = None
        """Takes the frames of the running cell; False for one that is none of its."""
        self.cell_died: Callable[[], None] | None = None
        self._file: tuple[str, asyncio.Future[Frame]] | None = None
        self._kill = kill
        self._junk = 0
        self._closed = False
        blob_limit = max(limits.file_bytes, 2 * limits.output_bytes, limits.artifact_bytes)
        self.channel = Channel(files.channel, self._receive, self._lost, blob_limit=blob_limit)

    def interrupt(self, cell: str) -> None:
        """Raise KeyboardInterrupt in the cell, if it is still the one that runs."""
        with contextlib.suppress(OSError):  # it is dead, or does not listen; the kill that follows tells
            self.files.control.send(cell.encode())

    def kill(self, reason: str) -> None:
        """Kill all its processes; `ended` is set when they are."""
        if self.dead is None:
            self.dead = Died(reason=reason)
        self._kill(self, True)

    def stop(self, reason: str) -> None:
        """Kill the process, and leave its checkpoint to go on from."""
        if self.dead is None:
            self.dead = Died(reason=reason)
        self._kill(self, False)

    def pass_on(self, message: dict[str, Json], descriptors: list[int]) -> None:
        """Send open files, which stay ours to close.

        Raises:
            OSError: It is dead, or does not listen.
        """
        socket.send_fds(self.files.passing, [json.dumps(message).encode()], descriptors)

    def died(self, reason: Died | Exception) -> None:
        """It is known to have ended: let whoever waits for it know."""
        self.channel.drain()  # what it said before it died still counts
        if self.dead is None:
            self.dead = reason
        self._tell()

    def printed(self, size: int | None = None, beyond: int = 0, tail: bytes = b"") -> Printed:
        """What the cell printed: `size` bytes in the shared file (None: all that was written) and what came later."""
        if size == 0:
            return Printed("", False)
        if size is None:
            size = os.lseek(self.files.output, 0, os.SEEK_CUR)
        head = os.pread(self.files.output, max(0, min(size, self.files.output_size)), 0)
        return Printed.of(head, tail, len(head) + max(beyond, len(tail)), self.limits.output_bytes)

    async def move_file(self, message: dict[str, Json], blob: bytes = b"") -> Frame:
        """Send a request about files and wait for its answer.

        Raises:
            SandboxFileError: The guest could not do it.
        """
        if self.dead is not None:
            raise _as_error(self.dead)
        self.used = True
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._file = (message["file"], future)
        try:
            self.channel.send(message, blob)
            return await future
        finally:
            self._file = None

    def close(self) -> None:
        """Give up our ends; the process exits when it notices, if it still runs."""
        if self._closed:
            return
        self._closed = True
        self.channel.close()
        self.files.close()

    def _receive(self, frame: Frame) -> None:
        message, blob = frame
        if self.receive_cell is not None and self.receive_cell(frame):
            return
        match message:
            case {"op": "ready", "applied": dict(), "pid": int(pid)} if not self.ready.done():
                self.pid = pid
                self.ready.set_result(message["applied"])
            case {"op": "failed", "reason": str(reason)} if not self.ready.done():
                self.ready.set_exception(SandboxGone(reason))
            case {"op": "file", "file": id} if self._file is not None and self._file[0] == id:
                self._file_moved(message, blob)
            case {"op": "call", "call": str(call)} if len(call) <= 64:
                self.channel.send({"op": "answer", "call": call, "error": "no cell is running"})
                self._overlook()
            case _:
                self._overlook()

    def _file_moved(self, message: dict[str, Json], blob: bytes) -> None:
        if self._file is None or self._file[1].done():
            return
        if "error" in message:
            self._file[1].set_exception(SandboxFileError(str(message["error"])[:1000]))
        else:
            self._file[1].set_result((message, blob))

    def _overlook(self) -> None:
        self._junk += 1
        if self._junk > JUNK_LIMIT:
            raise SandboxProtocolError("the guest kept sending frames that belong to no running cell")

    def _lost(self, error: SandboxProtocolError | None) -> None:
        if error is not None:
            self.dead = error
            self._kill(self, True)
            self._tell()
        elif self.inherited and not self.ready.done():
            self.died(Died())
        elif self.dead is None:
            # The zygote will say how it died; if it can't, we do not wait for ever.
            asyncio.get_running_loop().call_later(1.0, self._nobody_said)

    def _nobody_said(self) -> None:
        if self.dead is None:
            self._kill(self, True)
            self.died(Died())

    def _tell(self) -> None:
        reason = _as_error(self.dead)
        for future in (self.ready, self._file[1] if self._file else None):
            if future is not None and not future.done():
                future.set_exception(reason)
                future.exception()  # nobody may be waiting, and that is fine
        if self.cell_died is not None:
            self.cell_died()


def _as_error(reason: Died | Exception | None) -> Exception:
    return reason if isinstance(reason, Exception) else SandboxGone(str(reason))
