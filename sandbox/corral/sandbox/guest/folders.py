"""Deleting what a session leaves behind."""

from __future__ import annotations

import os
import secrets

__all__ = ["remove"]


def remove(folder: str) -> None:
    """Delete a tree that its maker may have made hard to delete: no recursion, however deep it is."""
    os.chmod(folder, 0o700)
    os.chdir(folder)
    numbers = iter(range(1, 1_000_000_000))
    prefix = secrets.token_hex(4)
    while entries := list(os.scandir(".")):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name)
                continue
            os.chmod(entry.name, 0o700)
            for inner in list(os.scandir(entry.name)):  # lift everything up, so that every folder becomes empty
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)
                os.rename(inner.path, f"{prefix}-{next(numbers)}")
            os.rmdir(entry.name)
    os.rmdir(folder)
