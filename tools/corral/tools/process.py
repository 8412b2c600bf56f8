"""A server's process: started in a group of its own with few variables, and always stopped with its whole group."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

__all__ = ["ServerProcess", "last_lines", "run_process"]

_LEAVE_TIME: Final = 2.0
"""Seconds to end by itself once its stdin is closed."""
_TERM_TIME: Final = 2.0
"""Seconds from SIGTERM to SIGKILL."""
_REAP_TIME: Final = 2.0
_POLL: Final = 0.01
_STDERR_KEPT: Final = 16_384


class ServerProcess:
    """A running process with pipes on all three streams."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("a server process is opened with pipes")
        self.pid: Final = process.pid
        self.stdin: Final[ByteSendStream] = process.stdin
        self.stdout: Final[ByteReceiveStream] = process.stdout
        self._stderr: Final[ByteReceiveStream] = process.stderr
        self._process: Final = process
        self._words = bytearray()
        self.stopped = False

    @property
    def returncode(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.returncode

    def stderr_lines(self, count: int = 5) -> tuple[str, ...]:
        """The last lines that it wrote to its standard error."""
        return last_lines(bytes(self._words), count)

    async def read_stderr(self) -> None:
        """Keep the end of its standard error until that is closed; a full pipe would block the server."""
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            while True:
                self._words += await self._stderr.receive()
                del self._words[:-_STDERR_KEPT]

    async def ended(self, timeout: float) -> bool:
        """Whether it ends within `timeout` seconds."""
        return await _until(lambda: self.returncode is not None, timeout)

    async def stop(self) -> None:
        """End it and its group: stdin closed, then SIGTERM, then SIGKILL, each with a bounded wait.

        The order is that of the specification of 2025-11-25, basic/lifecycle#shutdown.
        """
        if self.stopped:
            return
        await _close(self.stdin)
        await self.ended(_LEAVE_TIME)
        if self._group_is_alive():
            self._signal(signal.SIGTERM)
            await _until(lambda: not self._group_is_alive(), _TERM_TIME)
        self.kill()
        await self.ended(_REAP_TIME)
        await _close(self.stdout)
        await _close(self._stderr)
        self._close_transport()
        self.stopped = True

    def kill(self) -> None:
        """SIGKILL to all of the group that is left; does not wait, so that it works where nothing may be awaited."""
        if self._group_is_alive():
            self._signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.terminate()
            else:
                # The leader's pid is the group's id, also when the leader is gone and its children are not.
                os.killpg(self.pid, number)

    def _group_is_alive(self) -> bool:
        if sys.platform == "win32":
            return self.returncode is None
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return self.returncode is None
        return True

    def _close_transport(self) -> None:
        # A child that left the group may hold a pipe, and asyncio's transport would then warn when it is collected;
        # nothing public closes it (as in mcp.client.stdio).
        transport = getattr(getattr(self._process, "_process", None), "_transport", None)
        if transport is not None:
            with suppress(PermissionError):
                transport.close()


@asynccontextmanager
async def run_process(command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> AsyncGenerator[ServerProcess]:
    """A process that is gone, with its group, when the block is left in whatever way.

    Raises:
        OSError: It could not be started.
    """
    process = ServerProcess(await anyio.open_process(command, env=env, cwd=cwd, start_new_session=True))
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(process.read_stderr)
            try:
                yield process
            finally:
                with anyio.CancelScope(shield=True):
                    await process.stop()
                group.cancel_scope.cancel()
    finally:
        if not process.stopped:
            process.kill()  # where a native cancellation broke into the stop


def last_lines(text: bytes, count: int) -> tuple[str, ...]:
    """The last non-empty lines, each cut to 300 characters."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    return tuple(line[:300] for line in lines if line)[-count:]


async def _until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll: a group's end has no event, and `Process.wait` would also wait for children that hold the pipes."""
    with anyio.move_on_after(timeout):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(_POLL)
    return condition()


async def _close(stream: ByteSendStream | ByteReceiveStream) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.aclose()
