"""Names that the host binds before a cell: small ones come in the frame, large ones as sealed memory files."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from typing import Any

from .link import Link

__all__ = ["Variables"]


class Variables:
    """Remembers the large texts, so that the host need not send again what has not changed."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}
        self.passed: list[int] = []
        """Descriptors that were read, until `release`."""

    def receive(self, message: dict[str, Any], link: Link) -> dict[str, Any]:
        """What a request binds, by name."""
        bound: dict[str, Any] = dict(message.get("variables", ()))
        if passed := message.get("passed"):
            _, self.passed = link.receive_passed()
            for (name, kind), descriptor in zip(passed, self.passed):
                bound[name] = self._load(name, kind, descriptor)
            if len(os.sched_getaffinity(0)) == 1:  # later it would be in the way of who waited
                self.release()
        for name in message.get("same", ()):
            bound[name] = self._kept[name]
        return bound

    def release(self) -> None:
        """Close what was passed. It gives the pages back, which takes longer than to read them: nobody should wait."""
        for descriptor in self.passed:
            with contextlib.suppress(OSError):  # the cell has closed it
                os.close(descriptor)
        self.passed = []

    def _load(self, name: str, kind: str, descriptor: int) -> Any:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as data:
            if kind == "json":
                return json.loads(bytes(data))
            self._kept[name] = text = str(data, "utf-8", "surrogatepass")
            return text
