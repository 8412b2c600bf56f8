"""Files in and out of the session's folder, following no link on the way."""

from __future__ import annotations

import contextlib
import os
import stat

__all__ = ["read", "write"]


def write(root: str, path: str, data: bytes) -> None:
    """Write `data` as the regular file `path` under `root`; parents are made."""
    folder, name = _parent(root, path, make=True)
    try:
        # O_NONBLOCK: opening a FIFO nobody reads must fail rather than wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    with open(file, "wb") as out:
        _check_regular(out.fileno(), path)
        out.truncate(0)
        out.write(data)


def read(root: str, path: str, limit: int) -> bytes:
    """The bytes of the regular file `path` under `root`, at most `limit`."""
    folder, name = _parent(root, path, make=False)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    with open(file, "rb") as source:
        _check_regular(source.fileno(), path)
        data = source.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{path} is larger than {limit} bytes")
    return data


def _parent(root: str, path: str, *, make: bool) -> tuple[int, str]:
    """An open descriptor of the folder that holds `path`, walked one name at a time, and the last name."""
    names = path.split("/")
    if any(name in ("", ".", "..") for name in names):
        raise OSError(f"not a plain relative path: {path}")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names[:-1]:
        try:
            if make:
                _mkdir(name, folder)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder, names[-1]


def _mkdir(name: str, folder: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)


def _check_regular(file: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(f"not a regular file: {path}")
