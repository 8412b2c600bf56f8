"""The audit: written by the gate itself, an intent before each effect and an outcome after it, never rewritten."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Audit", "AuditRecord", "FileAudit", "MemoryAudit"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the audit.

    Attributes:
        entry: "intent" (about to happen), "outcome" (what became of it), "refusal" (it did not happen) or "endorsement"
            (`verb` is the integrity that `principal` gave the value with this digest).
        digest: `Action.digest`: the arguments are named by their hash, never written out.
        result: For an outcome "ok", "error" or "cancelled"; for a refusal "denied", "limit" or "rate".
    """

    entry: str
    run_id: str
    resource: str
    verb: str
    principal: str
    user: str
    digest: str
    verdict: str
    rule: str | None
    result: str | None = None
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}


class Audit(Protocol):
    """Where records go. `append` returns once the record is handed over; if it fails, the effect does not run."""

    def append(self, record: AuditRecord) -> None: ...


class MemoryAudit:
    """The newest records, in memory; the default of a gate that was given no other."""

    def __init__(self, most: int = 10_000) -> None:
        self._records: deque[AuditRecord] = deque(maxlen=most)

    def append(self, record: AuditRecord) -> None:
        self._records.append(record)

    @property
    def records(self) -> list[AuditRecord]:
        return list(self._records)


class FileAudit:
    """Records as lines of JSON at the end of a file that only its owner may read; safe from several threads.

    Each line is one `write` to a file opened for appending, so several processes may share it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._lock = threading.Lock()
        self._seq = 0
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def append(self, record: AuditRecord) -> None:
        with self._lock:
            if self._file is None:
                raise ValueError(f"the audit {self.path} is closed")
            self._seq += 1
            stamped = {"v": SCHEMA_VERSION, "pid": os.getpid(), "seq": self._seq, "at": time.time(), **record.to_json()}
            line = json.dumps(stamped, separators=(",", ":")).encode() + b"\n"
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"the audit {self.path} took {written} of {len(line)} bytes; is the disk full?")

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
