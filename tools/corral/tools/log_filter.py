"""The SDK's own log lines, without the secrets of a connection: at DEBUG it writes down each message whole."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from corral.tools.secrets import hide_in_text

__all__ = ["logs_without"]

_LOGGERS: Final = ("mcp.client.streamable_http", "mcp.client.sse")


@contextmanager
def logs_without(secrets: Callable[[], tuple[str, ...]]) -> Generator[None]:
    """While this is entered, what `secrets` gives is hidden in the lines that are logged about MCP over HTTP."""

    def hide(record: logging.LogRecord) -> bool:
        known = secrets()
        message = record.getMessage()
        hidden = hide_in_text(message, known)
        if hidden != message:
            record.msg, record.args = hidden, ()
        if record.exc_info is not None and record.exc_info[1] is not None:
            told = "".join(traceback.format_exception(record.exc_info[1]))
            if hide_in_text(told, known) != told:
                record.exc_info = None
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(hide)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(hide)
