"""Logins in the system's keyring: macOS Keychain, Windows Credential Locker, Secret Service, KWallet."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, cast

from pydantic import SecretStr

from corral.tools.errors import TokenError
from corral.tools.login import Login
from corral.tools.private_file import hold_lock
from corral.tools.token_store import FileTokenStore, TokenStore

__all__ = ["KeyringTokenStore", "find_keyring", "open_token_store"]

_SERVICE: Final = "corral"
_PIECE: Final = 1200
"""Characters of one entry: Windows takes 2560 bytes, two for each (CRED_MAX_CREDENTIAL_BLOB_SIZE)."""
_TRIES: Final = 5
_GOOD: Final = 1.0
"""Priority of the backends that keyring recommends; those below write to plain files, or do nothing."""


def open_token_store(folder: str | os.PathLike[str], passphrase: SecretStr | None = None) -> TokenStore:
    """Where logins are kept here: in the system's keyring if there is one, else in encrypted files in `folder`.

    With a passphrase it is the files: who gives one has decided. Finding out may take a moment.
    """
    if passphrase is None and (backend := find_keyring()) is not None:
        return KeyringTokenStore(folder, backend)
    return FileTokenStore(folder, passphrase)


def find_keyring() -> Any:
    """The system's keyring; None if there is none, or the package `keyring` is not installed (corral[keyring])."""
    try:
        import keyring
        from keyring.backends.chainer import ChainerBackend
    except ImportError:
        return None
    try:
        found = keyring.get_keyring()
        chained: Any = found.backends if isinstance(found, ChainerBackend) else [found]
        good = [each for each in chained if each.priority >= _GOOD]
    except Exception:  # noqa: BLE001 - a desktop's services fail in many ways; each is no keyring
        return None
    return found if good else None


class KeyringTokenStore:
    """Each login as entries of the keyring; a folder has only the locks between processes, and no secret.

    Args:
        folder: Of the locks. A login that a `FileTokenStore` keeps there moves to the keyring when it is first read.
        backend: A backend of the package `keyring`; the system's when None.
    """

    def __init__(self, folder: str | os.PathLike[str], backend: Any = None) -> None:
        self._folder = Path(folder)
        self._before = FileTokenStore(folder)
        self._backend = backend

    def load(self, key: str) -> Login | None:
        head, text = self._read(key), ""
        if head is None:
            return self._move(key)
        for _ in range(_TRIES):
            text, before, head = self._join(key, head), head, self._read(key)
            if head == before or head is None:
                break  # nobody replaced it meanwhile
        try:
            data = json.loads(text)
        except ValueError:
            return None
        return Login.from_json(cast("dict[str, Any]", data)) if isinstance(data, dict) else None

    def save(self, key: str, login: Login) -> None:
        text = json.dumps(login.to_json())
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        name, old = secrets.token_hex(4), self._read(key)
        for number, piece in enumerate(pieces):
            self._write(_piece(key, name, number), piece)
        # Who reads meanwhile finds the old login or the new one, as a whole.
        self._write(key, json.dumps({"name": name, "count": len(pieces)}))
        self._drop_pieces(key, old)

    def delete(self, key: str) -> None:
        old = self._read(key)
        if old is not None:
            self._delete(key)
            self._drop_pieces(key, old)
        self._before.delete(key)

    def lock(self, key: str, timeout: float = 30.0) -> AbstractAsyncContextManager[None]:
        return hold_lock(self._folder / f"{key}.json", timeout)

    def _join(self, key: str, head: str) -> str:
        try:
            told = json.loads(head)
            return "".join(self._read(_piece(key, told["name"], n)) or "" for n in range(int(told["count"])))
        except (ValueError, KeyError, TypeError):
            return ""

    def _move(self, key: str) -> Login | None:
        login = self._before.load(key)
        if login is not None:
            self.save(key, login)
            self._before.delete(key)
        return login

    def _drop_pieces(self, key: str, head: str | None) -> None:
        try:
            told = json.loads(head or "{}")
            for number in range(int(told.get("count", 0))):
                self._delete(_piece(key, told["name"], number))
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    def _read(self, name: str) -> str | None:
        return self._ask("get_password", _SERVICE, name)

    def _write(self, name: str, text: str) -> None:
        self._ask("set_password", _SERVICE, name, text)

    def _delete(self, name: str) -> None:
        if self._read(name) is not None:
            self._ask("delete_password", _SERVICE, name)

    def _ask(self, verb: str, *given: str) -> Any:
        import keyring  # an extra, and not quick to import

        backend: Any = self._backend if self._backend is not None else keyring.get_keyring()
        try:
            return getattr(backend, verb)(*given)
        except Exception as error:  # noqa: BLE001 - desktops' services fail in many ways, and may quote what was given
            problem = f"the system's keyring can't be used ({type(error).__name__}); unlock it, or set a passphrase"
            raise TokenError("the token store", problem) from None

    def __repr__(self) -> str:
        return f"KeyringTokenStore({str(self._folder)!r})"


def _piece(key: str, name: str, number: int) -> str:
    return f"{key}.{name}.{number}"
