"""A Docker session as its user holds it: cells one after another, files in and out, a new process when one dies."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import anyio

from corral.sandbox.cell import RunningCell
from corral.sandbox.container import Container
from corral.sandbox.errors import SandboxError, SandboxFileError, SandboxGone, SandboxProtocolError
from corral.sandbox.sandbox import CODE_LIMIT, CellError, CellErrorKind, Execution, Host, Json, SandboxSpec
from corral.sandbox.worker import Died, Worker

__all__ = ["DockerSandbox"]

FILE_TIMEOUT = 30.0
NOTHING = Host()


class DockerSandbox:
    """Cells run one at a time; a second `execute` waits for the first.

    When a cell crashed or had to be killed, `Execution.state_kept` is False and a new process has taken its place, with
    no names and no files; `id` stays. When the process died between two cells, the next `execute` runs nothing and says
    so, as a CRASH; the one after it runs.
    """

    def __init__(self, container: Container, worker: Worker, spec: SandboxSpec) -> None:
        self._container = container
        self._worker = worker
        self._spec = spec
        self._id = f"{container.id[:12]}.{worker.number}"
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        return "docker"

    @property
    def id(self) -> str:
        return self._id

    async def execute(
        self, code: str, variables: Mapping[str, Json] | None = None, *, timeout: float, host: Host | None = None
    ) -> Execution:
        """See `Sandbox.execute`. Cancelled, it interrupts the cell and returns within about 0.2 s."""
        if len(code) > CODE_LIMIT:
            raise ValueError(f"a cell of {len(code)} characters; at most {CODE_LIMIT} are allowed")
        async with self._turn:
            if isinstance(self._worker.dead, Died) and not self._closed:
                # It died between two cells: say so once, rather than run a cell on names that are not there.
                message = f"{self._worker.dead} ; its names and files are lost"
                await self._restart()
                return Execution(error=CellError(CellErrorKind.CRASH, message), state_kept=False)
            self._check_open()
            try:
                execution = await RunningCell(self._worker, host or NOTHING, timeout).run(code, variables or {})
            except (SandboxGone, SandboxProtocolError):
                await self.close()
                raise
            if not execution.state_kept:
                await self._restart()
            return execution

    async def put(self, path: str, data: bytes) -> None:
        if len(data) > self._spec.limits.file_bytes:
            raise SandboxFileError(f"{path} has {len(data)} bytes; at most {self._spec.limits.file_bytes} are allowed")
        await self._move_file("put", path, data)

    async def get(self, path: str) -> bytes:
        return await self._move_file("get", path)

    async def _move_file(self, op: str, path: str, data: bytes = b"") -> bytes:
        names = path.split("/")
        if "\0" in path or any(name in ("", ".", "..") for name in names):
            raise SandboxFileError(f"not a plain relative path: {path!r}")
        message = {"op": op, "file": secrets.token_hex(8), "path": path, "limit": self._spec.limits.file_bytes}
        async with self._turn:
            self._check_open()
            try:
                with anyio.fail_after(FILE_TIMEOUT):
                    return await self._worker.move_file(message, data)
            except TimeoutError as error:
                await self._container.discard(self._worker)
                raise SandboxFileError(f"the session did not {op} {path!r} in {FILE_TIMEOUT:g} s") from error
            except SandboxFileError as error:
                raise SandboxFileError(f"cannot {op} {path!r}: {error}") from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._container.discard(self._worker)

    async def _restart(self) -> None:
        await self._container.discard(self._worker)
        if not self._container.lost:
            self._worker = await self._container.fork()

    def _check_open(self) -> None:
        if self._closed or self._container.lost:
            raise SandboxGone("the session is closed" if self._closed else "the sandbox container has ended")
        dead = self._worker.dead
        if isinstance(dead, SandboxError):
            raise dead

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
