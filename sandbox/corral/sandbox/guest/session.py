"""One session: a forked process that runs cells for the host, one after another, in one set of names."""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from . import files, hooks
from .calls import Calls
from .cell import Interpreter, describe
from .copies import Checkpoint, copy
from .display import PYPLOT, Display
from .inbox import REQUEST
from .link import Link
from .value import plain
from .variables import Variables

__all__ = ["Session"]


class Submitted(BaseException):
    """Ends a cell that has called SUBMIT; no `except Exception` of the cell's may swallow it."""


class Session:
    """Runs until the host hangs up."""

    def __init__(self, descriptors: Sequence[int], settings: dict[str, Any], applied: dict[str, Any]) -> None:
        self._settings = settings
        self._applied = applied
        self._folder: str = settings["folder"]
        self._link = Link(descriptors, settings["output_bytes"])
        self._calls = Calls(self._link)
        self._variables = Variables()
        self._display = Display(self._show, settings["artifact_bytes"])
        self._checkpoint = Checkpoint(settings["checkpoint_bytes"])
        self._copying = False
        self._begun = False
        self._bound: set[str] = set()
        """Names of functions of the host's."""
        self._outputs: list[str] = []
        self._submitted: dict[str, Any] | None = None
        self._pid = os.getpid()
        module = ModuleType("__main__")
        module.__dict__.update(__builtins__=builtins, display=self._display.display)
        sys.modules["__main__"] = module
        self._interpreter = Interpreter(module)
        os.register_at_fork(after_in_child=self._forked)

    def serve(self) -> NoReturn:
        """Report what holds this session, then do what the host asks."""
        self._report_ready()
        while True:
            try:
                message, blob = self._link.inbox.wait(REQUEST)
            except (EOFError, OSError):
                os._exit(0)
            op = message["op"]
            if op == "execute":
                self._execute(message)
                self._copy()
            elif op == "rehearse":
                self._execute(message)
                self._interpreter.begin_anew()
            elif op == "branch":
                self._branch()
            else:
                self._file(message, blob)
                if not self._checkpoint.taken:
                    self._copy()

    def _report_ready(self) -> None:
        self._link.send({"op": "ready", "applied": self._applied, "pid": self._pid})

    # Copies.

    def _copy(self) -> None:
        self._copying = True
        descriptors = self._checkpoint.take(self._link)
        self._copying = False
        if descriptors is not None:
            self._live_on(descriptors)
        elif self._checkpoint.taken:
            self._interpreter.rehearse()

    def _branch(self) -> None:
        _, descriptors = self._link.receive_passed()
        self._copying = True
        try:
            pid = copy()
        except OSError:
            pid = -1
        self._copying = False
        if pid == 0:
            os.setsid()
            self._link.forget()
            self._live_on(descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)

    def _live_on(self, descriptors: Sequence[int]) -> None:
        """As a copy, become a session of its own."""
        self._pid = os.getpid()
        self._checkpoint.forget()
        self._link = self._calls.link = Link(descriptors, self._settings["output_bytes"])
        self._report_ready()
        self._copy()

    def _forked(self) -> None:
        if not self._copying:  # a child that the cell made
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._link.forget()
            self._checkpoint.forget()

    # Cells.

    def _execute(self, message: dict[str, Any]) -> None:
        link = self._link
        if not self._begun:
            self._begun = True
            hooks.set_up()
        self._calls.cell = cell = message["cell"]
        self._submitted = None
        if self._bound or "bind" in message:
            self._bind(message.get("bind", {}))
        if self._display.shown:
            self._display.begin()
        link.output.begin()
        link.interrupts.begin(cell)
        report = self._outcome(message["code"])
        link.interrupts.end()
        if os.getpid() != self._pid:  # the cell forked, and its child came back to here
            os._exit(0)
        size, beyond, tail = link.output.end()
        end = {"op": "done", "cell": cell, "size": size, "beyond": beyond}
        if self._submitted is not None:
            report["submitted"] = self._submitted
        try:
            link.send({**end, **report}, tail)
        except ValueError as error:  # several large values were submitted
            link.send({**end, "error": {"kind": "error", "message": f"ValueError: {error}"}}, tail)
        if self._variables.passed:
            self._variables.release()

    def _outcome(self, code: str) -> dict[str, Any]:
        try:
            value = self._unmasked(self._run, code)
            return {} if value is None else {"value": value}
        except Submitted:
            return {}
        except BaseException as error:  # noqa: BLE001 - whatever a cell raises is what came of it
            failure = error
        try:
            report = self._unmasked(describe, failure)
        except BaseException as error:  # noqa: BLE001 - its __str__ failed, or was interrupted
            report = {"kind": "error", "message": f"{type(failure).__name__} ({type(error).__name__} while shown)"}
        if self._link.interrupts.fired:
            report["kind"] = "interrupted"
        return {"error": report}

    def _run(self, code: str) -> Any:
        """The last expression's value as JSON, or as its repr where JSON can't say it."""
        value = self._interpreter.run(code)
        if value is None and PYPLOT not in sys.modules:
            return None
        try:
            if type(value).__module__ != "builtins":
                self._display.show(value)
            self._display.figures()
        except Exception as error:  # noqa: BLE001 - its own `_repr_html_`, say
            print(f"{type(error).__name__} while shown: {error}", file=sys.stderr)  # noqa: T201
        return None if value is None else plain(value)

    def _unmasked(self, step: Callable[[Any], Any], argument: Any) -> Any:
        interrupts = self._link.interrupts
        try:
            interrupts.unmask()
            return step(argument)
        finally:
            interrupts.mask()

    def _bind(self, binding: dict[str, Any]) -> None:
        names = self._interpreter.names
        tools: list[str] = binding.get("tools", [])
        for name in self._bound.difference(tools):
            names.pop(name, None)
        self._bound = set(tools)
        for name in tools:
            names[name] = self._calls.function(name)
        self._outputs = binding.get("outputs", [])
        if self._outputs:
            names["SUBMIT"] = self._submit
            self._bound.add("SUBMIT")
        names.update(self._variables.receive(binding, self._link))

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

    def _show(self, name: str, media_type: str, data: bytes) -> None:
        interrupts = self._link.interrupts
        interrupts.mask()
        try:
            self._link.send({"op": "artifact", "cell": self._calls.cell, "name": name, "media_type": media_type}, data)
        finally:
            interrupts.unmask()

    def _file(self, message: dict[str, Any], blob: bytes) -> None:
        report, data = files.move(self._folder, message, blob)
        self._link.send({"op": "file", "file": message["file"], **report}, data)
