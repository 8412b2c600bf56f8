"""What a guest says came of a cell, turned into an `Execution` once it is well-formed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from corral.sandbox.errors import SandboxProtocolError
from corral.sandbox.sandbox import Artifact, CellError, CellErrorKind, Execution, Json
from corral.sandbox.wire import Frame
from corral.sandbox.worker import Worker

__all__ = ["Artifacts", "finished"]

KINDS = {"syntax": CellErrorKind.SYNTAX, "error": CellErrorKind.ERROR, "interrupted": CellErrorKind.TIMEOUT}

MOST_ARTIFACTS = 64
MEDIA_TYPE = re.compile(r"[a-z]+/[a-zA-Z0-9][a-zA-Z0-9.+-]{0,80}")
FILE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


class Artifacts:
    """Collects what a cell shows, up to a number of bytes in all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._shown: list[Artifact] = []

    def receive(self, frame: Frame) -> None:
        """Take one in.

        Raises:
            SandboxProtocolError: It is none, or there are too many.
        """
        match frame:
            case {"name": str(name), "media_type": str(kind)}, data if FILE_NAME.fullmatch(
                name
            ) and MEDIA_TYPE.fullmatch(kind):
                self._bytes += len(data)
            case _:
                raise SandboxProtocolError("the guest showed something that is no artifact")
        if self._bytes > self._limit or len(self._shown) >= MOST_ARTIFACTS:
            raise SandboxProtocolError(f"the guest showed more than {self._limit} bytes or {MOST_ARTIFACTS} artifacts")
        self._shown.append(Artifact(name, kind, data))

    @property
    def shown(self) -> tuple[Artifact, ...]:
        return tuple(self._shown)


def finished(
    frame: Frame, worker: Worker, outputs: Sequence[str], seconds: float, late: str, artifacts: Artifacts
) -> Execution:
    """What a cell did that came to its end.

    Args:
        late: What to say of a cell that was interrupted for its time; empty if it was not.

    Raises:
        SandboxProtocolError: The frame is not one that ends a cell.
    """
    message, tail = frame
    match message:
        case {"size": int(size), "beyond": int(beyond)}:
            printed = worker.printed(size, beyond, tail) if size or beyond else None
        case _:
            raise SandboxProtocolError("the guest ended a cell without saying how much it printed")
    error, submitted = message.get("error"), message.get("submitted")
    return Execution(
        output=printed.text if printed else "",
        value=message.get("value"),
        error=None if error is None else _error(error, late),
        submitted=None if submitted is None else _submitted(submitted, outputs),
        seconds=seconds,
        truncated=printed.truncated if printed else False,
        artifacts=artifacts.shown,
    )


def _error(report: Json, late: str) -> CellError:
    match report:
        case {"kind": str(name), "message": str(message)} if name in KINDS:
            kind = KINDS[name]
        case _:
            raise SandboxProtocolError("the guest sent an error that is none")
    if kind is CellErrorKind.TIMEOUT:
        if late:
            message = late
        else:
            kind = CellErrorKind.ERROR
    return CellError(kind, message, str(report.get("traceback", "")))


def _submitted(values: Json, outputs: Sequence[str]) -> dict[str, Json]:
    if not isinstance(values, dict) or set(cast("dict[str, Json]", values)) != set(outputs):
        raise SandboxProtocolError("the guest submitted what SUBMIT does not take")
    return cast("dict[str, Json]", values)
