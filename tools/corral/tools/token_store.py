"""Tokens at rest, shared by the processes of one user."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from corral.tools.private_file import hold_lock, read_private, write_private
from corral.tools.token import Token

__all__ = ["FileTokenStore", "TokenStore"]


class TokenStore(Protocol):
    """Keeps tokens by key."""

    def load(self, key: str) -> Token | None: ...

    def save(self, key: str, token: Token) -> None: ...

    def delete(self, key: str) -> None: ...

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Held by one process at a time: a refresh token that rotates may be used by one only.

        Raises:
            TokenError: Another process holds it for too long.
        """
        ...


class FileTokenStore:
    """A folder with a file for each token, which only its owner may read; not encrypted."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def load(self, key: str) -> Token | None:
        data = read_private(self._path(key))
        try:
            return None if data is None else Token(**data)
        except TypeError:
            return None

    def save(self, key: str, token: Token) -> None:
        write_private(self._path(key), asdict(token))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return hold_lock(self._path(key))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"
