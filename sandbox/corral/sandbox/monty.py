"""Sessions in Monty, a Python subset in a subprocess of its own: no engine and no image needed.

pydantic-monty 1.4; its reference is `pydantic_monty/_monty.pyi`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import anyio

from corral.sandbox.errors import SandboxFileError, SandboxGone, SandboxUnavailable
from corral.sandbox.guest.value import plain
from corral.sandbox.printed import Printer
from corral.sandbox.sandbox import CODE_LIMIT, CellError, CellErrorKind, Execution, Host, Json, SandboxSpec

if TYPE_CHECKING:
    from pydantic_monty import AsyncFunctionSnapshot, AsyncMonty, AsyncMontySession

__all__ = ["MontyProvider", "MontySandbox"]

T = TypeVar("T")

CHECKOUT_TIMEOUT = 30.0
SUSPENSIONS = 1_000_000
"""Host calls that a session may make; Monty's own default, 1000, is one cell's worth here."""

SLEEPS = ("system.sleep", "system.async_sleep")
"""Left to us by a feed that is driven by hand; one sleep after the other, on the cell's time."""

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
    def instructions(self) -> str:
        return (
            "Code runs in Monty, a subset of Python: functions, classes, comprehensions and async, and the modules "
            "asyncio, datetime, json, math, random, re, sys and typing among few others; no generators (`yield`), no "
            "third-party packages, no files, no network. Names stay from cell to cell."
        )

    async def open(self, spec: SandboxSpec | None = None) -> MontySandbox:
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
            cell = _Cell(session, host or Host(), timeout, self._spec)
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


class _Cell:
    """Drives one feed: it stops at each host call, and goes on with the answer.

    `ended` is True when the interpreter came to the cell's end, with or without an error; else its heap can't be
    relied on.
    """

    def __init__(self, session: AsyncMontySession, host: Host, timeout: float, spec: SandboxSpec) -> None:
        self._session = session
        self._host = host
        self._timeout = timeout
        self._printer = Printer(spec.limits.output_bytes)
        self._submitted: dict[str, Json] | None = None
        self._seconds = 0.0
        self.ended = False

    async def run(self, code: str, variables: Mapping[str, Json]) -> Execution:
        from pydantic_monty import MontyCrashedError, MontyError

        value: Json = None
        error: CellError | None = None
        try:
            value = await self._drive(code, variables)
            self.ended = True
        except TimeoutError:
            message = f"the cell ran past its {self._timeout:g} s and was stopped; names are as before it"
            error = CellError(CellErrorKind.TIMEOUT, message)
        except MontyCrashedError as crash:
            error = CellError(CellErrorKind.CRASH, f"the interpreter died: {crash}; names are as before the cell")
        except MontyError as failure:
            self.ended = True
            error = None if self._submitted is not None else _cell_error(failure)
        printed = self._printer.printed()
        return Execution(printed.text, value, error, self._submitted, self._seconds, printed.truncated)

    async def _drive(self, code: str, variables: Mapping[str, Json]) -> Json:
        from pydantic_monty import AsyncFunctionSnapshot, AsyncFutureSnapshot, MontyComplete

        known = {name: _never_called for name in (*self._host.tools, *self._bound_outputs())}
        state = await self._turn(
            self._session.feed_start(
                code,
                inputs=json.loads(json.dumps(dict(variables))),
                external_lookup=cast("dict[str, Any]", known),
                print_callback=lambda _, text: self._printer.write(text),
            )
        )
        while not isinstance(state, MontyComplete):
            if isinstance(state, AsyncFutureSnapshot):
                raise AssertionError("no host call is answered later, so nothing can be waiting for one")
            if isinstance(state, AsyncFunctionSnapshot) and state.function_name in known:
                answer = await self._answer(state)
                state = await self._turn(state.resume(answer))
            elif isinstance(state, AsyncFunctionSnapshot) and state.function_name in SLEEPS:
                await self._turn(anyio.sleep(float(state.args[0])))
                state = await self._turn(state.resume({"return_value": state.args[1] if len(state.args) > 1 else None}))
            else:  # a module, the clock, or a name that is not defined: Monty's own affair
                state = await self._turn(state.resume_auto())
        return _json(state)

    def _bound_outputs(self) -> tuple[str, ...]:
        return ("SUBMIT",) if self._host.outputs else ()

    async def _turn(self, turn: Awaitable[T]) -> T:
        """Let the interpreter run to its next stop, on the cell's time. Giving up ends its subprocess."""
        started = time.monotonic()
        try:
            with anyio.fail_after(max(0.0, self._timeout - self._seconds)):
                return await turn
        finally:
            self._seconds += time.monotonic() - started

    async def _answer(self, call: AsyncFunctionSnapshot) -> Any:
        name, args, kwargs = str(call.function_name), list(call.args), dict(call.kwargs)
        if name == "SUBMIT" and self._host.outputs:
            return self._submit(args, kwargs)
        if self._host.call is None:
            return {"exc_type": "RuntimeError", "message": f"there is no tool {name!r} here"}
        try:
            args, kwargs = json.loads(json.dumps([args, kwargs], allow_nan=False))
        except (TypeError, ValueError) as error:
            return {"exc_type": "TypeError", "message": f"arguments of {name} have to be JSON: {error}"}
        try:
            return {"return_value": await self._host.call(name, args, kwargs)}
        except Exception as error:  # noqa: BLE001 - the tool's own code failed: the cell gets to see how
            return {"exc_type": "RuntimeError", "message": str(error) or type(error).__name__}

    def _submit(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        names = list(self._host.outputs)
        values = {**dict(zip(names, args, strict=False)), **kwargs}
        if len(args) + len(kwargs) != len(names) or set(values) != set(names):
            return {"exc_type": "TypeError", "message": f"SUBMIT takes {', '.join(names)}, each once"}
        self._submitted = {name: _json_value(values[name]) for name in names}
        # Ends the cell: of what Monty can raise, this is what `except Exception` does not catch.
        return {"exc_type": "KeyboardInterrupt", "message": "SUBMIT"}


def _never_called(*args: object, **kwargs: object) -> None:
    raise AssertionError("host calls are answered by the cell itself")


def _json(complete: Any) -> Json:
    try:
        return _json_value(complete.output)
    except ValueError as error:  # an int with more digits than Python turns into text
        return f"<{error}>"


def _json_value(value: Any) -> Json:
    shown = plain(value)
    return json.loads(json.dumps(shown)) if isinstance(shown, list | tuple | dict) else shown


def _cell_error(failure: Any) -> CellError:
    from pydantic_monty import MontyRuntimeError, MontySyntaxError

    traceback = failure.display() if isinstance(failure, MontyRuntimeError | MontySyntaxError) else ""
    first = (str(failure).splitlines() or [type(failure).__name__])[0]
    if isinstance(failure, MontySyntaxError):
        return CellError(CellErrorKind.SYNTAX, f"SyntaxError: {first}", traceback)
    return CellError(CellErrorKind.ERROR, first, traceback)
