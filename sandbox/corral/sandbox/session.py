"""A Docker session as its user holds it: cells one after another, files in and out, a new process when one dies."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

import anyio

from corral.sandbox.cell import RunningCell
from corral.sandbox.errors import SandboxError, SandboxFileError, SandboxGone, SandboxProtocolError
from corral.sandbox.pool import Place
from corral.sandbox.sandbox import CODE_LIMIT, CellError, CellErrorKind, Execution, Host, Json, SandboxSpec
from corral.sandbox.wire import Frame
from corral.sandbox.worker import Died, Worker

__all__ = ["DockerSandbox"]

FILE_TIMEOUT = 30.0
NOTHING = Host()


class DockerSandbox:
    """Cells run one at a time; a second `execute` waits for the first.

    The process is copied after each cell, while nobody waits for it. When a cell crashes it, or it has to be killed,
    the copy takes its place: names are as before the cell, files as the cell left them, and what it started has ended.
    Where there is no copy (more than 500 MB in use, no process to be had) `Execution.state_kept` is False, and a new
    process without names and files goes on; `id` stays. When that was between two cells, the next `execute` runs
    nothing and says so, as a CRASH; the one after it runs.
    """

    def __init__(self, place: Place, worker: Worker, spec: SandboxSpec) -> None:
        self._place = place
        self._container = place.container
        self._worker = worker
        self._spec = spec
        self._id = f"{self._container.id[:12]}.{worker.number}"
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
            dead = self._worker.dead
            if isinstance(dead, Died) and not self._closed and not await self._restart():
                # It died between two cells: say so once, rather than run a cell on names that are not there.
                message = f"{dead}; its names and files are lost"
                return Execution(error=CellError(CellErrorKind.CRASH, message), state_kept=False)
            self._check_open()
            try:
                execution = await RunningCell(self._worker, host or NOTHING, timeout).run(code, variables or {})
            except (SandboxGone, SandboxProtocolError):
                await self.close()
                raise
            if execution.error is not None and not execution.state_kept and await self._restart():
                message = f"{execution.error.message}; names are as before the cell"
                error = replace(execution.error, message=message)
                execution = replace(execution, error=error, state_kept=True)
            return execution

    async def branch(self) -> DockerSandbox:
        """Another session with a copy of every name, to be closed by the caller; the folder is one for both.

        Threads and child processes stay with this one.

        Raises:
            SandboxGone: The session has ended.
            SandboxUnavailable: It could not be copied.
        """
        async with self._turn:
            self._check_open()
            worker = await self._container.branch(self._worker)
        self._place.sessions += 1
        return DockerSandbox(self._place, worker, self._spec)

    async def put(self, path: str, data: bytes) -> None:
        if len(data) > self._spec.limits.file_bytes:
            raise SandboxFileError(f"{path} has {len(data)} bytes; at most {self._spec.limits.file_bytes} are allowed")
        _check_path(path)
        await self._move_files({"op": "put", "path": path}, data)

    async def get(self, path: str) -> bytes:
        _check_path(path)
        _, data = await self._move_files({"op": "get", "path": path})
        return data

    async def put_folder(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write files below `path`, by their paths in it; "" is the session's own folder. Together they are one file's
        size at most."""
        prefix = f"{path}/" if path else ""
        for name in files:
            _check_path(prefix + name)
        data = b"".join(files.values())
        if len(data) > self._spec.limits.file_bytes:
            raise SandboxFileError(f"{len(data)} bytes; at most {self._spec.limits.file_bytes} are allowed")
        listed = [(prefix + name, len(content)) for name, content in files.items()]
        await self._move_files({"op": "put_folder", "path": path, "files": listed}, data)

    async def get_folder(self, path: str = "") -> dict[str, bytes]:
        """The regular files below `path`, by their paths in it; links and special files are left out."""
        if path:
            _check_path(path)
        message, data = await self._move_files({"op": "get_folder", "path": path})
        try:
            return _folder_files(message.get("files"), data, path)
        except SandboxProtocolError:
            await self.close()
            raise

    async def _move_files(self, request: dict[str, Json], data: bytes = b"") -> Frame:
        op, path = request["op"], request["path"]
        message = {**request, "file": secrets.token_hex(8), "limit": self._spec.limits.file_bytes}
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
        try:
            await self._container.discard(self._worker)
        finally:
            await self._place.leave()

    async def _restart(self) -> bool:
        """Go on in the process's copy, or else in a new process; whether names were kept."""
        heir = await self._container.recover(self._worker)
        if heir is not None:
            self._worker = heir
            return True
        await self._container.discard(self._worker)
        if not self._container.lost:
            self._worker = await self._container.fork()
        return False

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


def _check_path(path: str) -> None:
    if "\0" in path or any(name in ("", ".", "..") for name in path.split("/")):
        raise SandboxFileError(f"not a plain relative path: {path!r}")


def _folder_files(listed: Json, data: bytes, path: str) -> dict[str, bytes]:
    """What a guest sent of a folder; its word on names and sizes is checked.

    Raises:
        SandboxProtocolError: It does not add up.
    """
    prefix, start = f"{path}/" if path else "", 0
    files: dict[str, bytes] = {}
    rows = cast("list[Json]", listed) if isinstance(listed, list) else []
    for row in rows:
        match row:
            case [str(name), int(size)] if name.startswith(prefix) and 0 <= size <= len(data) - start:
                _check_sent(name)
                files[name[len(prefix) :]] = data[start : start + size]
                start += size
            case _:
                raise SandboxProtocolError("the guest sent a folder that does not add up")
    return files


def _check_sent(name: str) -> None:
    try:
        _check_path(name)
    except SandboxFileError as error:
        raise SandboxProtocolError(f"the guest sent a file with the name {name!r}") from error
