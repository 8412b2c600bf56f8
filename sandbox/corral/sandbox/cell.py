"""One cell while it runs: its clock, the calls it makes, and the ladder when it does not end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextvars import copy_context
from typing import cast

import anyio

from corral.sandbox.errors import SandboxProtocolError
from corral.sandbox.sandbox import CellError, CellErrorKind, Execution, Host, Json
from corral.sandbox.wire import Frame
from corral.sandbox.worker import Died, Worker

__all__ = ["RunningCell"]

GRACE = 0.5
"""Seconds between asking a cell past its time limit to stop and killing its session."""

CANCEL_GRACE = 0.15
"""The same for a cell whose caller no longer waits."""

CALLS_AT_ONCE = 64

KINDS = {"syntax": CellErrorKind.SYNTAX, "error": CellErrorKind.ERROR, "interrupted": CellErrorKind.TIMEOUT}


class RunningCell:
    """Runs one cell in a worker and answers what it calls.

    The clock stands still while a call is in flight. Threads of the guest may go on computing meanwhile: they gain no
    more time than the host takes to answer, which the host decides.
    """

    def __init__(self, worker: Worker, host: Host, timeout: float) -> None:
        self._id = secrets.token_hex(8)
        self._worker = worker
        self._host = host
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        # Tools run in what the caller of `execute` has set, not in what the event loop's reader has.
        self._context = copy_context()
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._done: Frame | None = None
        self._died = False
        self._interrupted = False
        self._killed = False
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._excluded = 0.0
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, code: str, variables: Mapping[str, Json]) -> Execution:
        """Send the cell and see it to its end; when cancelled, stop it first.

        Raises:
            SandboxGone: The container ended.
            SandboxProtocolError: The guest broke the protocol.
            TypeError, ValueError: The variables are not JSON; nothing was run.
        """
        worker = self._worker
        worker.channel.send(self._request(code, variables))
        worker.receive_cell, worker.cell_died = self._receive, self._worker_died
        self._started = self._loop.time()
        self._timer = self._loop.call_later(self._timeout, self._tick)
        try:
            await self._changed
            seconds = self._elapsed()
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            worker.receive_cell = worker.cell_died = None
            self._stop_clock()
            if self._calls:
                await self._end_calls()
        return self._execution(seconds)

    def _request(self, code: str, variables: Mapping[str, Json]) -> dict[str, Json]:
        request: dict[str, Json] = {"op": "execute", "cell": self._id, "code": code, "tools": list(self._host.tools)}
        if self._host.outputs:
            request["outputs"] = list(self._host.outputs)
        if variables:
            request["variables"] = dict(variables)
        return request

    # What the guest says.

    def _receive(self, frame: Frame) -> bool:
        message = frame[0]
        if message.get("cell") != self._id:
            return False
        match message:
            case {"op": "done"} if self._done is None:
                self._done = frame
                self._wake()
            case {"op": "call", "call": str(call), "name": str(name), "args": list(), "kwargs": dict()} if (
                len(call) <= 64 and call not in self._calls
            ):
                self._call(call, name, cast("list[Json]", message["args"]), cast("dict[str, Json]", message["kwargs"]))
            case _:
                return False
        return True

    def _worker_died(self) -> None:
        self._died = True
        self._wake()

    def _wake(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)

    # Calls.

    def _call(self, call: str, name: str, args: list[Json], kwargs: dict[str, Json]) -> None:
        if len(self._calls) >= CALLS_AT_ONCE:
            self._answer(call, error=f"more than {CALLS_AT_ONCE} calls at once")
            return
        if not self._calls:
            self._waits_since = self._loop.time()
        self._calls[call] = self._loop.create_task(self._serve(call, name, args, kwargs), context=self._context.copy())

    async def _serve(self, call: str, name: str, args: list[Json], kwargs: dict[str, Json]) -> None:
        try:
            if name not in self._host.tools or self._host.call is None:
                self._answer(call, error=f"there is no tool {name!r} here")
                return
            value = await self._host.call(name, args, kwargs)
        except Exception as error:  # noqa: BLE001 - the tool's own code failed: the cell gets to see how
            self._answer(call, error=str(error) or type(error).__name__)
        else:
            self._answer(call, value=value)
        finally:
            self._calls.pop(call, None)
            if not self._calls:
                self._waited()

    def _answer(self, call: str, *, value: Json = None, error: str | None = None) -> None:
        answer = {"value": value} if error is None else {"error": error}
        try:
            self._worker.channel.send({"op": "answer", "call": call, **answer})
        except (TypeError, ValueError, RecursionError) as problem:
            self._worker.channel.send({"op": "answer", "call": call, "error": f"the result is not JSON: {problem}"})

    async def _end_calls(self) -> None:
        tasks = list(self._calls.values())
        for call, task in list(self._calls.items()):
            # Said here and not by the task, which may not have begun: a thread of the guest's may still wait for it.
            self._answer(call, error="the cell that called has ended")
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks)

    # The clock, which stands still while the cell waits for the host, and the ladder.

    def _elapsed(self) -> float:
        now = self._loop.time()
        waiting = now - self._waits_since if self._calls else 0.0
        return now - self._started - self._excluded - waiting

    def _waited(self) -> None:
        self._excluded += self._loop.time() - self._waits_since
        if self._timer is None:
            self._timer = self._loop.call_later(max(0.0, self._timeout - self._elapsed()), self._tick)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        if self._calls:
            return  # `_waited` winds it up again
        left = self._timeout - self._elapsed()
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._tick)
            return
        self._interrupted = True
        self._worker.interrupt(self._id)
        self._timer = self._loop.call_later(GRACE, self._kill)

    def _kill(self) -> None:
        self._killed = True
        self._worker.kill("its cell ran past its time")
        self._wake()

    async def _stop(self) -> None:
        """End the guest's work on a cell that nobody waits for any more."""
        for task in self._calls.values():
            task.cancel()
        self._changed = self._loop.create_future()
        self._worker.interrupt(self._id)
        with anyio.move_on_after(CANCEL_GRACE, shield=True):
            if self._done is None and not self._died:
                await self._changed
        if self._done is None:
            self._worker.kill("the session was killed with a cancelled cell that would not stop")

    # What came of it.

    def _execution(self, seconds: float) -> Execution:
        if self._done is not None:
            return self._finished(*self._done, seconds)
        printed = self._worker.printed()
        dead = self._worker.dead
        if self._killed:
            error = CellError(CellErrorKind.TIMEOUT, f"the cell ran past its {self._timeout:g} s and was killed")
        elif isinstance(dead, Died):
            error = CellError(CellErrorKind.CRASH, str(dead))
        elif dead is not None:
            raise dead
        else:
            raise AssertionError("a cell ended for no reason")
        return Execution(
            output=printed.text, error=error, seconds=seconds, truncated=printed.truncated, state_kept=False
        )

    def _finished(self, message: dict[str, Json], tail: bytes, seconds: float) -> Execution:
        match message:
            case {"size": int(size), "beyond": int(beyond)}:
                printed = self._worker.printed(size, beyond, tail) if size or beyond else None
            case _:
                raise self._broken("ended a cell without saying how much it printed")
        return Execution(
            output=printed.text if printed else "",
            value=message.get("value"),
            error=self._error(message.get("error")),
            submitted=self._submitted(message.get("submitted")),
            seconds=seconds,
            truncated=printed.truncated if printed else False,
        )

    def _error(self, report: Json) -> CellError | None:
        match report:
            case None:
                return None
            case {"kind": str(name), "message": str(message)} if name in KINDS:
                pass
            case _:
                raise self._broken("sent an error that is none")
        kind = KINDS[name]
        if kind is CellErrorKind.TIMEOUT:
            if not self._interrupted:
                kind = CellErrorKind.ERROR
            else:
                message = f"the cell ran past its {self._timeout:g} s and was interrupted"
        return CellError(kind, message, str(report.get("traceback", "")))

    def _submitted(self, values: Json) -> dict[str, Json] | None:
        if values is None:
            return None
        if not isinstance(values, dict) or set(cast("dict[str, Json]", values)) != set(self._host.outputs):
            raise self._broken("submitted what SUBMIT does not take")
        return cast("dict[str, Json]", values)

    def _broken(self, what: str) -> SandboxProtocolError:
        error = SandboxProtocolError(f"the guest {what}")
        self._worker.died(error)
        return error
