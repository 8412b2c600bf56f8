"""Files that only their owner may read, replaced whole, and a lock between processes beside them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import anyio

from corral.tools.errors import TokenError

__all__ = ["hold_lock", "make_private", "read_private", "write_private"]

_POLL: Final = 0.02
_LOCK_TIME: Final = 30.0


def read_private(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file; None if there is none that can be read: a damaged one is as good as none."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


def write_private(path: Path, data: dict[str, Any]) -> None:
    """Replace the file, so that a process that is killed leaves the old one or the new one."""
    draft = _draft(path, data)
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def make_private(path: Path, data: dict[str, Any]) -> None:
    """Write the file if there is none; of several processes that try, one does, and the others keep its file."""
    draft = _draft(path, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path, data: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Of this thread: two of one process may write at a time.
    draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    return draft


@asynccontextmanager
async def hold_lock(path: Path, timeout: float = _LOCK_TIME) -> AsyncGenerator[None]:
    """Held by one process at a time; given back also by one that is killed.

    Raises:
        TokenError: Another process holds it for longer than `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with anyio.move_on_after(timeout) as scope:
            while not _try_lock(descriptor):  # noqa: ASYNC110 - another process tells nobody
                await anyio.sleep(_POLL)
        if scope.cancelled_caught:
            raise TokenError("the token store", f"another process renews the token since {timeout:g} s")
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl  # not on Windows
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
