"""A tool's exception as one short line that a model may see."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

__all__ = ["MAX_FAILURE", "explain", "root_cause"]

MAX_FAILURE: Final = 500
"""Characters of an exception's message that are kept."""


def explain(error: BaseException, arguments: dict[str, Any]) -> str:
    """The exception's class and message on one line, cut, without this machine's folders.

    Args:
        arguments: What the tool was called with: a path that came from the caller is no secret and stays readable.
    """
    error = root_cause(error)
    if isinstance(error, SystemExit):
        return "SystemExit: the tool tried to end the whole program"
    message = " ".join(str(error).split())
    given = str(arguments)
    for root in _host_folders():
        if root not in given:
            message = message.replace(root, "…")
    if len(message) > MAX_FAILURE:
        message = message[: MAX_FAILURE - 1] + "…"
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def root_cause(error: BaseException) -> BaseException:
    """The first exception that is no group, depth first."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _host_folders() -> Iterator[str]:
    """Folders that tell about this host, the longer ones first, so that none hides part of another."""
    folders = {sys.prefix, sys.base_prefix, tempfile.gettempdir(), os.path.dirname(os.__file__)}
    for find in (Path.cwd, Path.home):
        try:
            folders.add(str(find()))
        except (OSError, RuntimeError):
            continue  # the working folder was removed, or the user has no home
    return iter(sorted((folder for folder in folders if len(folder) > 1), key=len, reverse=True))
