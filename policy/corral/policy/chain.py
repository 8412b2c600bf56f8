"""The audit as a chain: each line is sealed with a key over all lines before it (HMAC-SHA256, RFC 2104).

Whoever lacks the key can change, drop, add or move no line without `verify` finding it. One thing a chain can't show
by itself is that its newest lines are missing: for that, checkpoints go somewhere that the writer of the file can't
change afterwards. Without one, `verify` says how far it could look.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from corral.policy.errors import PolicyError

__all__ = ["MAC", "AuditBroken", "Chain", "Checkpoint", "first_mac", "next_mac", "verify"]

MAC = b',"mac":"'
"""What stands between a line's own text and its seal."""


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


@dataclass(slots=True)
class Chain:
    """A walk along the lines of an audit."""

    path: Path
    key: bytes
    lines: int
    mac: bytes

    def follow(self, line: bytes) -> None:
        body, seal, rest = line.rpartition(MAC)
        mac = next_mac(self.key, self.mac, body)
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
    chain = Chain(path, key, 0, first_mac(key))
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


def first_mac(key: bytes) -> bytes:
    return hmac.digest(key, b"corral audit 1", "sha256")


def next_mac(key: bytes, before: bytes, body: bytes) -> bytes:
    return hmac.digest(key, before + sha256(body).digest(), "sha256")
