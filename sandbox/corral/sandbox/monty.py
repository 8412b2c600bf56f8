"""Sessions in Monty, a Python subset in a subprocess of its own: no engine and no image needed.

pydantic-monty 1.4; its reference is `pydantic_monty/_monty.pyi`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import anyio

from corral.sandbox.errors import SandboxFileError, SandboxGone, SandboxUnavailable
from corral.sandbox.montycell import MontyCell
from corral.sandbox.sandbox import CODE_LIMIT, Execution, Host, Json, SandboxSpec

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, AsyncMontySession

__all__ = ["MontyProvider", "MontySandbox"]

CHECKOUT_TIMEOUT = 30.0
SUSPENSIONS = 1_000_000
"""Host calls that a session may make; Monty's own default, 1000, is one cell's worth here."""

NO_FILES = "Monty sessions have no files; a Docker session has (DockerProvider)"


class MontyProvider:
    """Opens sessions in a pool of Monty's subprocesses, one each.

    Args:
        sessions: How many may be open at once; one more waits, for half a minute.
    """

    def __init__(self, *, sessions: int = 64) -> None:
        self._sessions = sessions
        self._pool: AsyncMonty | None = None
        self._starting = anyio.Lock()
        self._numbers = itertools.count(1)
        self._open: set[MontySandbox] = set()
        self._closed = False

    @property
    def name(self) -> str:
        return "monty"

    @property
    def opens_network(self) -> bool:
        return False

    @property
    def instructions(self) -> str:
        return (
            "Code runs in Monty, a subset of Python: functions, classes, comprehensions and async, and the modules "
            "asyncio, datetime, json, math, random, re, sys and typing among few others; no generators (`yield`), no "
            "third-party packages, no files, no network. Names stay from cell to cell."
        )

    async def open(self, spec: SandboxSpec | None = None) -> MontySandbox:
        if spec is not None and spec.network is not None:
            raise SandboxUnavailable("Monty has no network; sessions that reach hosts need Docker or bubblewrap")
        async with self._starting:
            pool = await self._started()
        sandbox = MontySandbox(pool, next(self._numbers), spec or SandboxSpec(), self._open.discard)
        self._open.add(sandbox)
        try:
            await sandbox.start()
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    async def _started(self) -> AsyncMonty:
        if self._closed:
            raise SandboxUnavailable("the provider is closed")
        if self._pool is None:
            # Here to keep start-up light: it loads a 10 MB extension module.
            from pydantic_monty import AsyncMonty, MontyError

            pool = AsyncMonty(min_processes=0, max_processes=self._sessions, checkout_timeout=CHECKOUT_TIMEOUT)
            try:
                await pool.__aenter__()
            except (MontyError, OSError) as error:
                raise SandboxUnavailable(f"Monty did not start: {error}") from error
            self._pool = pool
        return self._pool

    async def close(self) -> None:
        self._closed = True
        with anyio.CancelScope(shield=True):
            for sandbox in list(self._open):
                await sandbox.close()
            pool, self._pool = self._pool, None
            if pool is not None:
                await pool.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


class MontySandbox:
    """Cells run one at a time. A cell that ran past its time, crashed or was cancelled is rolled back: its names are as
    they were before it, since the session is restored from a copy taken after the last cell that ended."""

    def __init__(
        self, pool: AsyncMonty, number: int, spec: SandboxSpec, on_close: Callable[[MontySandbox], None]
    ) -> None:
        self._pool = pool
        self._id = f"monty.{number}"
        self._spec = spec
        self._on_close = on_close
        self._session: AsyncMontySession | None = None
        self._saved: bytes | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        return "monty"

    @property
    def id(self) -> str:
        return self._id

    async def start(self) -> AsyncMontySession:
        """A session with the names of the last cell that ended.

        Raises:
            SandboxUnavailable: No subprocess could be had.
        """
        from pydantic_monty import MontyError

        if self._session is not None:
            return self._session
        limits = {"max_memory": self._spec.limits.memory_bytes, "max_suspensions": SUSPENSIONS}
        session = self._pool.checkout(script_name="cell.py", limits=cast("Any", limits))
        try:
            await session.__aenter__()
            if self._saved is not None:
                await session.load_session(self._saved)
        except (MontyError, OSError, TimeoutError, RuntimeError) as error:
            raise SandboxUnavailable(f"no Monty session could be started: {error}") from error
        self._session = session
        return session

    async def execute(
        self, code: str, variables: Mapping[str, Json] | None = None, *, timeout: float, host: Host | None = None
    ) -> Execution:
        async with self._turn:
            if self._closed:
                raise SandboxGone("the session is closed")
            if len(code) > CODE_LIMIT:
                raise ValueError(f"a cell of {len(code)} characters; at most {CODE_LIMIT} are allowed")
            session = await self.start()
            cell = MontyCell(session, host or Host(), timeout, self._spec)
            ended = False
            try:
                execution = await cell.run(code, variables or {})
                ended = cell.ended and await self._save(session)
            finally:
                if not ended:
                    await self._drop()
            return execution

    async def _save(self, session: AsyncMontySession) -> bool:
        from pydantic_monty import MontyError

        try:
            self._saved = await session.dump()
        except MontyError:
            return False
        return True

    async def _drop(self) -> None:
        """End the subprocess; the next cell restores what was saved."""
        session, self._session = self._session, None
        if session is not None:
            with anyio.CancelScope(shield=True):
                await session.__aexit__(None, None, None)

    async def put(self, path: str, data: bytes) -> None:
        raise SandboxFileError(f"cannot put {path!r}: {NO_FILES}")

    async def get(self, path: str) -> bytes:
        raise SandboxFileError(f"cannot get {path!r}: {NO_FILES}")

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._drop()
            self._on_close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
