"""One cell in Monty: a feed that stops at each host call, and goes on with the answer."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from corral.sandbox.guest.value import plain
from corral.sandbox.printed import Printer
from corral.sandbox.sandbox import CellError, CellErrorKind, Execution, Host, Json, SandboxSpec

if TYPE_CHECKING:
    from pydantic_monty import AsyncFunctionSnapshot, AsyncMontySession

__all__ = ["MontyCell"]

T = TypeVar("T")

SLEEPS = ("system.sleep", "system.async_sleep")
"""Left to us by a feed that is driven by hand; one sleep after the other, on the cell's time."""


class MontyCell:
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
