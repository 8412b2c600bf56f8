"""Logins at rest, shared by the processes of one user: in the system's keyring, or in encrypted files."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from corral.tools.login import Login
from corral.tools.private_file import hold_lock, read_private, write_private
from corral.tools.seal import Seal

__all__ = ["FileTokenStore", "TokenStore"]


class TokenStore(Protocol):
    """Keeps logins by key."""

    def load(self, key: str) -> Login | None:
        """The login, or None.

        Raises:
            TokenError: There is one that can't be read here: of a newer Corral, or locked by another key.
        """
        ...

    def save(self, key: str, login: Login) -> None:
        """Replace it as a whole.

        Raises:
            TokenError: It can't be kept.
        """
        ...

    def delete(self, key: str) -> None: ...

    def lock(self, key: str, timeout: float = ...) -> AbstractAsyncContextManager[None]:
        """Held by one process at a time: a refresh token that rotates may be used by one only.

        Raises:
            TokenError: Another process holds it for longer than `timeout` seconds.
        """
        ...


class FileTokenStore:
    """A folder with an encrypted file for each login (AES-256-GCM), which only its owner may read.

    With a passphrase the key is made of it (scrypt) and kept nowhere: whoever reads the disk reads no token. Without
    one the key is in a file of its own beside them, `store.key`: that protects a token file which gets out alone, as in
    a log, a diff or a partial backup, but not against somebody who can read the whole folder as its owner can.

    A file that an older Corral wrote in the clear is read, and replaced by an encrypted one at once.
    """

    def __init__(self, folder: str | os.PathLike[str], passphrase: SecretStr | None = None) -> None:
        self._folder = Path(folder)
        self._seal = Seal(self._folder, passphrase)

    def load(self, key: str) -> Login | None:
        data = read_private(self._path(key))
        if data is None:
            return None
        opened = self._seal.open(data)
        login = None if opened is None else Login.from_json(opened)
        if login is not None and opened is data:
            self.save(key, login)
        return login

    def save(self, key: str, login: Login) -> None:
        write_private(self._path(key), self._seal.close(login.to_json()))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def lock(self, key: str, timeout: float = 30.0) -> AbstractAsyncContextManager[None]:
        return hold_lock(self._path(key), timeout)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._folder)!r})"
