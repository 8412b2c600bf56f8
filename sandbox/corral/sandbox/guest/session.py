"""One session: a forked process that runs cells for the host, one after another, in one set of names."""

from __future__ import annotations

import builtins
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from . import files
from .cell import Interpreter, describe, run
from .inbox import REQUEST, Inbox
from .interrupts import Interrupts
from .output import Output
from .value import plain
from .wire import Writer

__all__ = ["Session"]


class Submitted(BaseException):
    """Ends a cell that has called SUBMIT; no `except Exception` of the cell's may swallow it."""


class Session:
    """Runs until the host hangs up."""

    def __init__(self, channel: socket.socket, control: socket.socket, output: int, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._folder: str = settings["folder"]
        self._output = Output(output, settings["output_bytes"])
        self._interrupts = Interrupts(control)
        self._inbox = Inbox(channel, self._interrupts)
        self._writer = Writer(channel)
        self._writing = threading.Lock()
        self._calls = itertools.count(1)
        self._cell = ""
        self._tools: list[str] = []
        self._outputs: list[str] = []
        self._submitted: dict[str, Any] | None = None
        self._pid = os.getpid()
        self._module = ModuleType("__main__")
        self._module.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = self._module
        self._interpreter = Interpreter(self._module)
        os.register_at_fork(after_in_child=lambda: _forget(channel, control))

    def serve(self, applied: dict[str, Any]) -> NoReturn:
        """Report what holds this session, then do what the host asks."""
        self._send({"op": "ready", "applied": applied})
        while True:
            try:
                message, blob = self._inbox.wait(REQUEST)
            except (EOFError, OSError):
                os._exit(0)
            if message["op"] == "execute":
                self._execute(message)
            else:
                self._file(message, blob)

    def _execute(self, message: dict[str, Any]) -> None:
        self._cell = message["cell"]
        self._submitted = None
        self._bind(message)
        self._output.begin()
        self._interrupts.begin(self._cell)
        report = self._outcome(message["code"])
        self._interrupts.end()
        if os.getpid() != self._pid:  # the cell forked, and its child came back to here
            os._exit(0)
        size, beyond, tail = self._output.end()
        end = {"op": "done", "cell": self._cell, "size": size, "beyond": beyond}
        if self._submitted is not None:
            report["submitted"] = self._submitted
        try:
            self._send({**end, **report}, tail)
        except ValueError as error:  # several large values were submitted
            self._send({**end, "error": {"kind": "error", "message": f"ValueError: {error}"}}, tail)

    def _outcome(self, code: str) -> dict[str, Any]:
        try:
            value = self._unmasked(lambda: run(self._interpreter, code))
            return {} if value is None else {"value": value}
        except Submitted:
            return {}
        except BaseException as error:  # noqa: BLE001 - whatever a cell raises is what came of it
            failure = error
        try:
            report = self._unmasked(lambda: describe(failure))
        except BaseException as error:  # noqa: BLE001 - its __str__ failed, or was interrupted
            report = {"kind": "error", "message": f"{type(failure).__name__} ({type(error).__name__} while shown)"}
        if self._interrupts.fired:
            report["kind"] = "interrupted"
        return {"error": report}

    def _unmasked(self, step: Callable[[], Any]) -> Any:
        try:
            self._interrupts.unmask()
            return step()
        finally:
            self._interrupts.mask()

    def _bind(self, message: dict[str, Any]) -> None:
        names = self._interpreter.names
        tools: list[str] = message.get("tools", self._tools)
        if tools is not self._tools:
            for name in set(self._tools) - set(tools):
                names.pop(name, None)
            self._tools = tools
        for name in tools:
            names[name] = self._function(name)
        self._outputs = message.get("outputs", [])
        if self._outputs:
            names["SUBMIT"] = self._submit
        else:
            names.pop("SUBMIT", None)
        names.update(message.get("variables", ()))

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = "Answered by the host; arguments and result are JSON."
        return call

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._interrupts.mask()
        try:
            key = f"{self._cell}.{next(self._calls)}"
            self._inbox.expect(key)
            self._send({"op": "call", "cell": self._cell, "call": key, "name": name, "args": args, "kwargs": kwargs})
            answer, _ = self._inbox.wait(key)
        except EOFError:
            os._exit(0)
        finally:
            self._interrupts.unmask()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value")

    def _submit(self, *args: Any, **kwargs: Any) -> NoReturn:
        names = self._outputs
        if len(args) > len(names):
            raise TypeError(f"SUBMIT takes {len(names)} values ({', '.join(names)}), not {len(args)}")
        values = dict(zip(names, args))
        twice = sorted(set(values) & set(kwargs))
        values.update(kwargs)
        if twice or set(values) != set(names):
            raise TypeError(f"SUBMIT takes {', '.join(names)}, each once; it got {', '.join(sorted(values)) or 'none'}")
        self._submitted = {name: plain(values[name]) for name in names}
        raise Submitted

    def _file(self, message: dict[str, Any], blob: bytes) -> None:
        report: dict[str, Any] = {"op": "file", "file": message["file"]}
        data = b""
        try:
            if message["op"] == "put":
                files.write(self._folder, message["path"], blob)
            else:
                data = files.read(self._folder, message["path"], message["limit"])
        except OSError as error:
            report["error"] = error.strerror or str(error)
        self._send(report, data)

    def _send(self, message: dict[str, Any], blob: bytes = b"") -> None:
        with self._writing:
            self._writer.send(message, blob)


def _forget(channel: socket.socket, control: socket.socket) -> None:
    # A forked child has no business with the host: were it to read or write here, frames would be mixed up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    channel.close()
    control.close()
