"""One cell while it runs: its clock, the calls it makes, and the ladder when it does not end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import anyio

from corral.sandbox.calls import Calls
from corral.sandbox.errors import SandboxGone, SandboxProtocolError
from corral.sandbox.outcome import Artifacts, finished
from corral.sandbox.sandbox import CellError, CellErrorKind, Execution, Host, Json
from corral.sandbox.variables import Variables
from corral.sandbox.wire import Frame, encode
from corral.sandbox.worker import Died, Worker

__all__ = ["RunningCell"]

GRACE = 0.5
"""Seconds between asking a cell past its time limit to stop and killing its session."""

CANCEL_GRACE = 0.15
"""The same for a cell whose caller no longer waits."""


class RunningCell:
    """Runs one cell in a worker and answers what it calls.

    The clock stands still while a call is in flight. Threads of the guest may go on computing meanwhile: they gain no
    more time than the host takes to answer, which the host decides.
    """

    def __init__(self, worker: Worker, host: Host, timeout: float, *, rehearsal: bool = False) -> None:
        self._op = "rehearse" if rehearsal else "execute"
        self._id = os.urandom(8).hex()
        self._worker = worker
        self._host = host
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(worker, host, self._waited)
        self._artifacts = Artifacts(worker.limits.artifact_bytes)
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._done: Frame | None = None
        self._died = False
        self._interrupted = False
        self._killed = False
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
        self._send(code, variables)
        worker.receive_cell, worker.cell_died = self._receive, self._worker_died
        self._started = self._loop.time()
        try:
            worker.channel.linger()
            if not self._changed.done():
                self._wind_clock()
                await self._changed
            seconds = self._elapsed()
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            worker.receive_cell = worker.cell_died = None
            self._stop_clock()
            if self._calls:
                await self._calls.end()
        return self._execution(seconds)

    def _send(self, code: str, variables: Mapping[str, Json]) -> None:
        request: dict[str, Json] = {"op": self._op, "cell": self._id, "code": code}
        given = Variables(variables, self._worker) if variables else None
        bind: dict[str, Json] = given.frame if given else {}
        if self._host.tools:
            bind["tools"] = list(self._host.tools)
        if self._host.outputs:
            bind["outputs"] = list(self._host.outputs)
        if bind:
            request["bind"] = bind
        data = encode(request)
        self._worker.used = self._op == "execute"
        try:
            if given:
                given.pass_on()
        except OSError as error:  # it has died, and nobody has told us yet
            raise SandboxGone("the session takes no variables any more") from error
        self._worker.channel.send_encoded(data)
        if given:
            given.keep()

    # What the guest says.

    def _receive(self, frame: Frame) -> bool:
        message = frame[0]
        if message.get("cell") != self._id:
            return False
        op = message.get("op")
        if op == "done" and self._done is None:
            self._done = frame
            self._wake()
            return True
        if op == "artifact" and self._done is None:
            self._artifacts.receive(frame)
            return True
        if not self._calls:
            self._waits_since = self._loop.time()
        return self._calls.receive(message)

    def _worker_died(self) -> None:
        self._died = True
        self._wake()

    def _wake(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)

    # The clock, which stands still while the cell waits for the host, and the ladder.

    def _elapsed(self) -> float:
        now = self._loop.time()
        waiting = now - self._waits_since if self._calls else 0.0
        return now - self._started - self._excluded - waiting

    def _waited(self) -> None:
        self._excluded += self._loop.time() - self._waits_since
        self._wind_clock()

    def _wind_clock(self) -> None:
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
        self._worker.stop("its cell ran past its time")
        self._wake()

    async def _stop(self) -> None:
        """End the guest's work on a cell that nobody waits for any more."""
        self._calls.cancel()
        self._changed = self._loop.create_future()
        self._worker.interrupt(self._id)
        with anyio.move_on_after(CANCEL_GRACE, shield=True):
            if self._done is None and not self._died:
                await self._changed
        if self._done is None:
            self._worker.stop("the session was killed with a cancelled cell that would not stop")

    # What came of it.

    def _execution(self, seconds: float) -> Execution:
        late = f"the cell ran past its {self._timeout:g} s and was "
        if self._done is not None:
            try:
                expected = late + "interrupted" if self._interrupted else ""
                return finished(self._done, self._worker, self._host.outputs, seconds, expected, self._artifacts)
            except SandboxProtocolError as error:
                self._worker.died(error)
                raise
        printed = self._worker.printed()
        dead = self._worker.dead
        if self._killed:
            error = CellError(CellErrorKind.TIMEOUT, late + "killed")
        elif isinstance(dead, Died):
            error = CellError(CellErrorKind.CRASH, str(dead))
        elif dead is not None:
            raise dead
        else:
            raise AssertionError("a cell ended for no reason")
        return Execution(
            output=printed.text,
            error=error,
            seconds=seconds,
            truncated=printed.truncated,
            state_kept=False,
            artifacts=self._artifacts.shown,
        )
