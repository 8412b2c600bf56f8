"""The audit as a chain: each line is sealed with a key over all lines before it (HMAC-SHA256, RFC 2104).

Whoever lacks the key can change, drop, add or move no line without `verify` finding it. One thing a chain can't show
by itself is that its newest lines are missing: for that, checkpoints go somewhere that the writer of the file can't
change afterwards. Without one, `verify` says how far it could look.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from corral.policy.audit import SCHEMA_VERSION, AuditRecord
from corral.policy.errors import PolicyError

__all__ = ["AuditBroken", "ChainedAudit", "Checkpoint", "load_key", "verify"]

_MAC = b',"mac":"'
_TAIL_BYTES = 1 << 18
_PIECE_BYTES = 1 << 20


class AuditBroken(PolicyError):
    """The audit is not what was written.

    Attributes:
        line: The first line, 1-based, that does not follow from those before it.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(path, line, problem)
        self.path = path
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far an audit had come: so many lines, the last of them sealed with this. To be kept elsewhere."""

    lines: int
    mac: str

    def to_json(self) -> dict[str, Any]:
        return {"lines": self.lines, "mac": self.mac}

    @classmethod
    def from_json(cls, data: Any) -> Checkpoint:
        """What `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        lines, mac = fields.get("lines"), fields.get("mac")
        if type(lines) is not int or lines < 0 or not isinstance(mac, str) or len(fields) != 2:
            raise ValueError("this is no checkpoint of an audit")
        return cls(lines, mac)


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
        self._lines, self._mac, self._end = 0, _first(self._key), 0  # as far as this object has followed the chain
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
        body, seal, _ = last.rpartition(_MAC)
        try:
            number = json.loads(body + b"}")["n"] if seal else 0
            mac = bytes.fromhex(before[-1].rpartition(_MAC)[2][:64].decode()) if before[-1] else self._mac
        except (ValueError, KeyError, TypeError):
            raise AuditBroken(self.path, 0, "its end is no audit of this kind") from None
        chain = _Chain(self.path, self._key, number - 1, mac)
        chain.follow(last)
        self._lines, self._mac, self._end = chain.lines, chain.mac, size

    def _write(self, file: int, record: AuditRecord) -> None:
        stamped = {"v": SCHEMA_VERSION, "n": self._lines + 1, "at": time.time(), "pid": os.getpid(), **record.to_json()}
        body = json.dumps(stamped, separators=(",", ":")).encode()[:-1]
        mac = _next(self._key, self._mac, body)
        line = body + _MAC + mac.hex().encode() + b'"}\n'
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
        chain = _Chain(self.path, self._key, self._lines, self._mac)
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


@dataclass(slots=True)
class _Chain:
    """A walk along the lines of an audit."""

    path: Path
    key: bytes
    lines: int
    mac: bytes

    def follow(self, line: bytes) -> None:
        body, seal, rest = line.rpartition(_MAC)
        mac = _next(self.key, self.mac, body)
        if not seal or not hmac.compare_digest(rest, mac.hex().encode() + b'"}'):
            raise AuditBroken(self.path, self.lines + 1, "this line is not the one that was written after those before")
        self.lines, self.mac = self.lines + 1, mac


def verify(path: Path, key: bytes, checkpoint: Checkpoint | None = None) -> Checkpoint:
    """How far the audit in `path` goes, once every line was found as it was written.

    Args:
        checkpoint: An older one from elsewhere: with it, lines that are missing at the end are found up to there.

    Raises:
        AuditBroken: A line was changed, taken away, put in or moved, or the end does not reach the checkpoint.
        OSError: The file can't be read.
    """
    chain = _Chain(path, key, 0, _first(key))
    reached = checkpoint is None or checkpoint == Checkpoint(0, chain.mac.hex())
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                raise AuditBroken(path, chain.lines + 1, "the last line is not whole")
            chain.follow(line[:-1])
            if checkpoint is not None and chain.lines == checkpoint.lines:
                if not hmac.compare_digest(chain.mac.hex(), checkpoint.mac):
                    raise AuditBroken(path, chain.lines, "this is not the line that the checkpoint names")
                reached = True
    if not reached:
        raise AuditBroken(path, chain.lines + 1, "lines are missing: the checkpoint goes further than the file")
    return Checkpoint(chain.lines, chain.mac.hex())


@contextmanager
def _locked(file: int) -> Generator[int]:
    import fcntl  # POSIX only, and the rest of this room is not

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield file
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _first(key: bytes) -> bytes:
    return hmac.digest(key, b"corral audit 1", "sha256")


def _next(key: bytes, before: bytes, body: bytes) -> bytes:
    return hmac.digest(key, before + sha256(body).digest(), "sha256")
