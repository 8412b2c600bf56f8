"""Encryption of small files, with a passphrase or with a key beside them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from pathlib import Path
from typing import Any, Final, cast

from pydantic import SecretStr

from corral.tools.errors import TokenError
from corral.tools.private_file import make_private, read_private

__all__ = ["Seal"]

_SCRYPT: Final = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
_ALGORITHM: Final = "A256GCM"


class Seal:
    """Closes JSON objects and opens them again.

    Args:
        folder: Where the key is, or the salt of the passphrase; made when something is first closed.
    """

    def __init__(self, folder: Path, passphrase: SecretStr | None) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._known: bytes | None = None
        self._lock = threading.Lock()

    def close(self, data: dict[str, Any]) -> dict[str, Any]:
        """`data` as a JWE (RFC 7516), in an object that says with which key."""
        from joserfc import jwe  # heavy
        from joserfc.jwk import OctKey

        key = self._key()
        header = {"alg": "dir", "enc": _ALGORITHM, "kid": _name(key)}
        return {"jwe": jwe.encrypt_compact(header, json.dumps(data), OctKey.import_key(key))}

    def open(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """What was closed; `data` itself if it never was, and None if it is damaged.

        Raises:
            TokenError: It was closed with another key or passphrase.
        """
        text = data.get("jwe")
        if not isinstance(text, str):
            return data
        from joserfc import jwe  # heavy
        from joserfc.errors import JoseError
        from joserfc.jwk import OctKey

        key = self._key()
        try:
            opened = jwe.decrypt_compact(text, OctKey.import_key(key), algorithms=["dir", _ALGORITHM])
            value: Any = json.loads(opened.plaintext or b"")
        except (JoseError, ValueError):
            if _read_name(text) not in (None, _name(key)):
                what = "key, which is gone" if self._passphrase is None else "passphrase"
                raise TokenError(
                    "the token store", f"what is kept there was encrypted with another {what}; log in again"
                ) from None
            return None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None

    def _key(self) -> bytes:
        with self._lock:
            if self._known is None:
                self._known = self._make_key() if self._passphrase is None else self._derive(self._passphrase)
            return self._known

    def _make_key(self) -> bytes:
        return self._kept("store.key", "key")

    def _derive(self, passphrase: SecretStr) -> bytes:
        salt = self._kept("store.salt", "salt")
        return hashlib.scrypt(passphrase.get_secret_value().encode(), salt=salt, dklen=32, **_SCRYPT)

    def _kept(self, file: str, name: str) -> bytes:
        """32 random bytes, the same for all processes that ask."""
        path = self._folder / file
        fresh = base64.b64encode(secrets.token_bytes(32)).decode()
        if not path.exists():
            make_private(path, {name: fresh})
        kept = read_private(path)
        try:
            value = base64.b64decode(str((kept or {})[name]), validate=True)
        except (KeyError, ValueError):
            value = b""
        if len(value) != 32:
            raise TokenError("the token store", f"{path} is damaged; remove it and log in again")
        return value


def _name(key: bytes) -> str:
    return hashlib.sha256(b"corral store key" + key).hexdigest()[:16]


def _read_name(text: str) -> str | None:
    head = text.partition(".")[0]
    try:
        name = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))).get("kid")
    except (ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None
