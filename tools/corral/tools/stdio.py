"""MCP over a process's pipes: a `Transport` for the SDK's `Client` whose lines are capped.

The SDK's own reader takes quadratic time for a long line and has no limit (measured on mcp 2.3.0: 16 MB in 9 s).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import anyio

from corral.tools.lines import LineSplitter, Oversized, Sieved, Unreadable
from corral.tools.long_strings import LongStrings
from corral.tools.process import ServerProcess, run_process

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.client._transport import TransportStreams
    from mcp.shared.message import SessionMessage

__all__ = ["MAX_LINE_BYTES", "StdioTransport"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_FLUSH_TIME: Final = 0.5
_SETTLE_TIME: Final = 0.5
"""Seconds for a process whose pipe closed to become a dead one, with its last words read."""
_OVERSIZED: Final = -32603  # JSON-RPC 2.0 §5.1, internal error

logger = logging.getLogger(__name__)


class StdioTransport:
    """One server process as a transport; entered once.

    Args:
        env: All of the process's variables.
        max_line_bytes: Of one message from the server. A longer answer fails the call that it was for, by an error
            made here; anything else that long is dropped.

    Attributes:
        long: What is long in tools' results, which have names in their place.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: str | None, *, max_line_bytes: int = MAX_LINE_BYTES
    ) -> None:
        self._command = tuple(command)
        self._env = env
        self._cwd = cwd
        self._max_line_bytes = max_line_bytes
        self._running: AbstractAsyncContextManager[TransportStreams] | None = None
        self.process: ServerProcess | None = None
        self._closing = False
        self.long = LongStrings()
        self.over = False
        """The server closed its side before we closed ours, so that no answer will come any more."""

    async def __aenter__(self) -> TransportStreams:
        self._running = self._run()
        return await self._running.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            await self._running.__aexit__(kind, error, trace)

    async def obituary(self) -> str:
        """How the server's process ended, such as "exit status 1" or "signal 9"."""
        if self.process is None or not await self.process.ended(_SETTLE_TIME):
            return "it closed its output"
        code = self.process.returncode or 0
        return f"exit status {code}" if code >= 0 else f"signal {-code}"

    async def last_words(self) -> tuple[str, ...]:
        """The end of what the process wrote to its standard error."""
        if self.process is None:
            return ()
        await self.process.ended(_SETTLE_TIME if self.over else 0)
        return self.process.stderr_lines()

    def secrets(self) -> tuple[str, ...]:
        # Its variables are its own business: a tool may rightly show them.
        return ()

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[TransportStreams]:
        from mcp.shared.message import SessionMessage  # keeps start-up light

        async with run_process(self._command, self._env, self._cwd) as process:
            self.process = process
            arrived, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            outgoing, to_send = anyio.create_memory_object_stream[SessionMessage](0)
            written = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(self._read, process, arrived)
                group.start_soon(self._write, process, to_send, arrived, written)
                try:
                    yield incoming, outgoing
                finally:
                    self._closing = True
                    with anyio.CancelScope(shield=True):
                        incoming.close()
                        outgoing.close()
                        # What was accepted gets a moment to be written before stdin is closed.
                        with anyio.move_on_after(_FLUSH_TIME):
                            await written.wait()
                        await process.stop()
                        group.cancel_scope.cancel()
            for stream in (arrived, to_send):
                stream.close()

    async def _read(self, process: ServerProcess, arrived: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        lines = LineSplitter(self._max_line_bytes)
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            async with arrived:
                try:
                    while True:
                        for line in lines.feed(await process.stdout.receive()):
                            message = self._parse(line)
                            if message is not None:
                                await arrived.send(message)
                finally:
                    self.over = self.over or not self._closing
        await _drain(process)

    async def _write(
        self,
        process: ServerProcess,
        to_send: MemoryObjectReceiveStream[SessionMessage],
        arrived: MemoryObjectSendStream[SessionMessage | Exception],
        written: anyio.Event,
    ) -> None:
        try:
            async with to_send:
                async for sent in to_send:
                    text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await process.stdin.send(text.encode() + b"\n")
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            # The process may live on, deaf: without this, requests would wait for ever.
            self.over = self.over or not self._closing
            await arrived.aclose()
        finally:
            written.set()

    def _parse(self, line: bytes | Oversized) -> SessionMessage | None:
        import mcp_types as types  # keeps start-up light
        from mcp.shared.message import SessionMessage

        message: Any
        try:
            if isinstance(line, Sieved):
                value, _ = self.long.message(line.skeleton, line.found)
                message = types.jsonrpc_message_adapter.validate_python(value, by_name=False)
            elif isinstance(line, Oversized):
                return self._refuse(line, "")
            elif line.strip():
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            else:
                return None
        except ValueError:  # pydantic's ValidationError is one
            ends = line if isinstance(line, Oversized) else Oversized(len(line), line[:512], line[-512:])
            return self._refuse(ends, "is no JSON-RPC message")
        return SessionMessage(message)

    def _refuse(self, line: Oversized, problem: str) -> SessionMessage | None:
        import mcp_types as types  # keeps start-up light
        from mcp.shared.message import SessionMessage

        problem = line.problem if isinstance(line, Unreadable) else problem
        request_id = line.request_id(is_message=not problem)
        if request_id is None:
            level = logging.DEBUG if problem else logging.WARNING
            logger.log(level, "dropped a line of %d bytes from %s", line.length, self._command[0])
            return None
        problem = problem or f"is longer than {self._max_line_bytes / 1024**2:g} MiB"
        size = f"{line.length / 1024**2:.1f} MiB" if line.length > 1024**2 else f"{line.length} bytes"
        text = f"the answer of {size} {problem} and was dropped"
        error = types.ErrorData(code=_OVERSIZED, message=text)
        return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))


async def _drain(process: ServerProcess) -> None:
    """Read on into nothing: a server that blocks on a full pipe would miss its chance to end by itself."""
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        while True:
            await process.stdout.receive()
