"""Files in and out of the session's folder, following no link on the way."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

__all__ = ["move"]

MOST_FILES = 10_000
DEEPEST = 64


def move(root: str, message: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
    """Do what a request about files asks; returns the report and the bytes that go with it."""
    path, limit = message["path"], message["limit"]
    try:
        op = message["op"]
        if op == "put":
            write(root, path, blob)
        elif op == "put_folder":
            _write_all(root, message["files"], blob)
        elif op == "get":
            return {}, read(root, path, limit)
        else:
            return _read_all(root, path, limit)
    except OSError as error:
        return {"error": error.strerror or str(error)}, b""
    return {}, b""


def _write_all(root: str, listed: list[tuple[str, int]], blob: bytes) -> None:
    start = 0
    for path, size in listed:
        write(root, path, blob[start : start + size])
        start += size


def _read_all(root: str, path: str, limit: int) -> tuple[dict[str, Any], bytes]:
    """Every regular file below `path`; links and special files are left out."""
    listed: list[tuple[str, int]] = []
    data = bytearray()
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        for name, kind in sorted(_entries(root, folder)):
            inner = f"{folder}/{name}" if folder else name
            if stat.S_ISDIR(kind) and inner.count("/") < DEEPEST:
                waiting.append(inner)
            elif stat.S_ISREG(kind):
                content = read(root, inner, limit - len(data))
                data += content
                listed.append((inner, len(content)))
                if len(listed) > MOST_FILES:
                    raise OSError(f"more than {MOST_FILES} files in {path or 'the folder'}")
    return {"files": listed}, bytes(data)


def _entries(root: str, path: str) -> list[tuple[str, int]]:
    folder, _ = _parent(root, f"{path}/x" if path else "x", make=False)
    try:
        names = os.listdir(folder)
        return [(name, os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode) for name in names]
    finally:
        os.close(folder)


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
