"""Log lines of the libraries below, without the secrets of a connection.

httpx writes each URL down at INFO, with a key in its query; httpcore the headers of answers at DEBUG; the MCP SDK each
message whole.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from corral.tools.secrets import hide_in_text

__all__ = ["logs_without"]

_PARTS: Final = ("connection", "http11", "http2", "proxy", "socks")
_LOGGERS: Final = (
    *("mcp.client.streamable_http", "mcp.client.sse", "httpx", "httpx2"),
    *(f"{library}.{part}" for library in ("httpcore", "httpcore2") for part in _PARTS),
)


@contextmanager
def logs_without(secrets: Callable[[], tuple[str, ...]]) -> Generator[None]:
    """While this is entered, what `secrets` gives is hidden in the lines that those libraries log."""

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
