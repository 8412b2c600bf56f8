"""Running one cell: compile it, run it in the session's names, and say in JSON what came of it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import linecache
import traceback
from collections.abc import Coroutine
from types import CodeType, ModuleType
from typing import Any

from .value import cut

__all__ = ["BadCell", "Interpreter", "describe"]

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
TEXT_LIMIT = 8 * 1024
SOURCES_KEPT = 256

REHEARSAL = "import os\nprint(sum(n for n in range(3)), file=out)\ndef f(x):\n    return [x, {'a': 1.5}]\nf(1 + 1)"


class BadCell(Exception):
    """The cell does not compile."""


class Interpreter:
    """The names of a session, and the event loop that its top-level awaits share."""

    def __init__(self, module: ModuleType) -> None:
        self.names = module.__dict__
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, code: str) -> Any:
        """Run a cell and return its last expression's value.

        Raises:
            BadCell: It does not compile; the cause says why.
        """
        self._count += 1
        filename = f"<cell {self._count}>"
        body, last = _compile(code, filename)
        # For tracebacks.
        linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
        if self._count > SOURCES_KEPT:
            linecache.cache.pop(f"<cell {self._count - SOURCES_KEPT}>", None)
        if body is not None:
            self._evaluate(body)
        return None if last is None else self._evaluate(last)

    def begin_anew(self) -> None:
        """Count cells from one."""
        self._count = 0

    def rehearse(self) -> None:
        """Run a cell that changes nothing.

        After a fork the first write to each page copies it, and a cell writes to hundreds: let that be done before
        anyone waits for a cell.
        """
        body, last = _compile(REHEARSAL, "<rehearsal>")
        names: dict[str, Any] = {"out": io.TextIOWrapper(io.BytesIO(), "utf-8", line_buffering=True)}
        if body is not None and last is not None:
            exec(body, names)
            json.dumps({"value": eval(last, names)})

    def _evaluate(self, code: CodeType) -> Any:
        value = eval(code, self.names)
        return self._await(value) if code.co_flags & inspect.CO_COROUTINE else value

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=0.05))


def _compile(code: str, filename: str) -> tuple[CodeType | None, CodeType | None]:
    try:
        if (expression := _compile_expression(code, filename)) is not None:
            return None, expression
        tree = ast.parse(code, filename)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        body = compile(tree, filename, "exec", flags=FLAGS) if tree.body else None
        if not isinstance(last, ast.Expr):
            return body, None
        return body, compile(ast.Expression(last.value), filename, "eval", flags=FLAGS)
    except (SyntaxError, ValueError, OverflowError) as error:
        raise BadCell from error


def _compile_expression(code: str, filename: str) -> CodeType | None:
    """`code` if it is one line with one expression: a tree of it takes longer to make than most of them to run."""
    if "\n" in code:
        return None
    try:
        return compile(code, filename, "eval", flags=FLAGS)
    except SyntaxError:
        return None


def describe(error: BaseException) -> dict[str, str]:
    """One line, and a traceback of the cell's own frames."""
    shown = error.__cause__ if isinstance(error, BadCell) and error.__cause__ else error
    report = traceback.TracebackException.from_exception(shown)
    _keep_own_frames(report)
    lines = [line for part in report.format_exception_only() for line in part.splitlines()]
    message = next((line for line in lines if line and not line.startswith(" ")), type(shown).__name__)
    return {
        "kind": "syntax" if isinstance(error, BadCell) else "error",
        "message": cut(message, 1000),
        "traceback": cut("".join(report.format()), TEXT_LIMIT),
    }


def _keep_own_frames(report: traceback.TracebackException) -> None:
    seen: set[int] = set()
    chain: list[traceback.TracebackException | None] = [report]
    while chain:
        part = chain.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        own = [frame for frame in part.stack if frame.filename.startswith("<cell ")]
        part.stack = traceback.StackSummary.from_list(own)
        chain += [part.__cause__, part.__context__]
