"""Variables on their way into a session: small ones in the frame, large ones as sealed memory files."""

from __future__ import annotations

import os
from collections.abc import Mapping

from corral.sandbox.sandbox import Json
from corral.sandbox.wire import SENT_JSON_LIMIT, encode_value
from corral.sandbox.worker import Worker

__all__ = ["Variables"]

LARGE = 64 * 1024
MOST_PASSED = 64
F_ADD_SEALS, ALL_SEALS = 1033, 0b1111


class Variables:
    """What one cell's variables are as a request: `frame` is added to it; `pass_on` comes before it, `keep` after it.

    A text that the session has got before under the same name, the very same object, is not sent again.

    Raises:
        TypeError, ValueError: They are not JSON, or larger than 128 MiB.
    """

    def __init__(self, variables: Mapping[str, Json], worker: Worker) -> None:
        self.frame: dict[str, Json] = {}
        self._worker = worker
        self._texts: dict[str, str] = {}
        self._passed: list[tuple[str, str]] = []
        self._data: list[bytes] = []
        small: dict[str, Json] = {}
        same: list[str] = []
        for name, value in variables.items():
            if type(value) is str and len(value) > LARGE:
                if worker.kept.get(name) is value:
                    same.append(name)
                elif self._add(name, "text", value.encode("utf-8", "surrogatepass")):
                    self._texts[name] = value
                else:
                    small[name] = value
            elif not (isinstance(value, list | dict) and self._add_large(name, value)):
                small[name] = value
        for key, part in (("variables", small), ("same", same), ("passed", self._passed)):
            if part:
                self.frame[key] = part

    def pass_on(self) -> None:
        """Send the large ones; the request has to follow.

        Raises:
            OSError: The session does not listen.
        """
        descriptors: list[int] = []
        try:
            for data in self._data:
                descriptors.append(_sealed(data))
            if descriptors:
                self._worker.pass_on({"op": "variables"}, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def keep(self) -> None:
        """Know what the session has now. After the request: it frees what the texts replace, which takes its time."""
        self._worker.kept.update(self._texts)

    def _add_large(self, name: str, value: Json) -> bool:
        data = encode_value(value)
        return len(data) > LARGE and self._add(name, "json", data)

    def _add(self, name: str, kind: str, data: bytes) -> bool:
        if len(data) > SENT_JSON_LIMIT:
            raise ValueError(f"{name} has {len(data)} bytes; at most {SENT_JSON_LIMIT} can be sent")
        if len(self._data) >= MOST_PASSED:
            return False
        self._passed.append((name, kind))
        self._data.append(data)
        return True


def _sealed(data: bytes) -> int:
    """A memory file that nobody can change any more."""
    import fcntl  # here because Windows has none, where this room is imported for Monty

    descriptor = os.memfd_create("variable", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
        fcntl.fcntl(descriptor, F_ADD_SEALS, ALL_SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
