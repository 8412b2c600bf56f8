"""An audit whose lines are sealed one after the other; the chain itself is in `chain`."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from corral.policy.audit import SCHEMA_VERSION, AuditRecord
from corral.policy.chain import MAC, AuditBroken, Chain, Checkpoint, first_mac, next_mac

__all__ = ["ChainedAudit", "load_key"]

_TAIL_BYTES = 1 << 18
_PIECE_BYTES = 1 << 20


def load_key(path: Path) -> bytes:
    """The 32 bytes in `path`, made there for its owner only if it is not there yet.

    Raises:
        PermissionError: Others may read it.
        ValueError: It is no key.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(staged, path)  # of several processes, one makes the key and all use it
        except FileExistsError:
            pass
        finally:
            staged.unlink()
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"others may read the audit's key {path}; chmod 600 it, and make a new one")
    key = path.read_bytes()
    if len(key) != 32:
        raise ValueError(f"{path} is no key of 32 bytes")
    return key


class ChainedAudit:
    """Records as sealed lines of JSON at the end of a file; safe from several threads and processes.

    Args:
        path: Of the audit; made for its owner only.
        key: 32 bytes; None takes `PATH.key` beside it, made when there is none. A key kept elsewhere is better:
            whoever can read both files can write a chain of their own.
        fsync: Wait until the disk has each record.

    Raises:
        AuditBroken: The file's end is not sealed with this key, so nothing is added to it.
    """

    def __init__(self, path: Path, *, key: bytes | None = None, fsync: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._key = load_key(path.with_name(path.name + ".key")) if key is None else key
        self._fsync = fsync
        self._lock = threading.Lock()
        self._lines, self._mac, self._end = 0, first_mac(self._key), 0  # as far as this object has followed the chain
        self._file: int | None = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _locked(self._file):
                self._find_end(self._file)
        except BaseException:
            self.close()
            raise

    def append(self, record: AuditRecord) -> None:
        """Write one record after the newest, whoever wrote that.

        Raises:
            AuditBroken: The file was changed since; nothing was written.
            OSError: It could not be written; half a line is taken back.
        """
        with self._lock, _locked(self._opened()) as file:
            self._catch_up(file)
            self._write(file, record)

    def checkpoint(self) -> Checkpoint:
        """How far the audit has come now; store it where this machine can't change it later."""
        with self._lock, _locked(self._opened()) as file:
            self._catch_up(file)
            return Checkpoint(self._lines, self._mac.hex())

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        if self._file is None:
            raise ValueError(f"the audit {self.path} is closed")
        return self._file

    def _find_end(self, file: int) -> None:
        """Start from the last line, checked against the one before it: `verify` is for the whole."""
        size = os.fstat(file).st_size
        tail = os.pread(file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        *before, last, rest = (b"\n" * 2 + tail).split(b"\n")
        if not tail:
            return
        if rest or not (before[-1] or len(tail) == size):
            raise AuditBroken(self.path, 0, "its last line is not whole; move the file away to begin a new one")
        body, seal, _ = last.rpartition(MAC)
        try:
            number = json.loads(body + b"}")["n"] if seal else 0
            mac = bytes.fromhex(before[-1].rpartition(MAC)[2][:64].decode()) if before[-1] else self._mac
        except (ValueError, KeyError, TypeError):
            raise AuditBroken(self.path, 0, "its end is no audit of this kind") from None
        chain = Chain(self.path, self._key, number - 1, mac)
        chain.follow(last)
        self._lines, self._mac, self._end = chain.lines, chain.mac, size

    def _write(self, file: int, record: AuditRecord) -> None:
        stamped = {"v": SCHEMA_VERSION, "n": self._lines + 1, "at": time.time(), "pid": os.getpid(), **record.to_json()}
        body = json.dumps(stamped, separators=(",", ":")).encode()[:-1]
        mac = next_mac(self._key, self._mac, body)
        line = body + MAC + mac.hex().encode() + b'"}\n'
        try:
            written = os.write(file, line)
            if written != len(line):
                raise OSError(f"the audit {self.path} took {written} of {len(line)} bytes; is the disk full?")
            if self._fsync:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, self._end)
            raise
        self._lines, self._mac, self._end = self._lines + 1, mac, self._end + len(line)

    def _catch_up(self, file: int) -> None:
        """Follow the chain over what other processes added."""
        size = os.fstat(file).st_size
        if size == self._end:
            return
        if size < self._end:
            raise AuditBroken(self.path, self._lines, "the file became shorter while it was open")
        chain = Chain(self.path, self._key, self._lines, self._mac)
        rest = b""
        while self._end + len(rest) < size:
            piece = os.pread(file, _PIECE_BYTES, self._end + len(rest))
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                chain.follow(line)
                self._lines, self._mac, self._end = chain.lines, chain.mac, self._end + len(line) + 1
        if rest:
            raise AuditBroken(self.path, self._lines + 1, "the last line is not whole")


@contextmanager
def _locked(file: int) -> Generator[int]:
    import fcntl  # POSIX only, and the rest of this room is not

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield file
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
