"""A task's text: from an argument or a file, and what is piped in beside it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from corral.apps.failures import Exit, fail

__all__ = ["read_text", "with_stdin"]


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{path}: the file can't be read: {problem}", Exit.BAD_INPUT) from error


def with_stdin(text: str | None) -> str:
    """The task's text; what is piped in is all of it, or a block beside it."""
    if text is not None and text != "-":
        # Bytes that are no UTF-8 reach Python as lone surrogates, which nothing can be sent with.
        said = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
        from corral.agents import quote  # keeps start-up light

        piped = _piped() if _is_pipe() else ""
        said = f"{said}\n\n{quote('stdin', piped)}" if piped else said
    elif sys.stdin is None or sys.stdin.isatty():
        raise fail("there is no task; give one as an argument, or pipe one in", Exit.BAD_INPUT)
    else:
        said = _piped()
    if not said:
        raise fail("there is no task; its text is empty", Exit.BAD_INPUT)
    return said


def _piped() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip()


def _is_pipe() -> bool:
    """Whether text is piped in, or redirected from a file; a terminal, /dev/null and a closed stdin are neither."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
