"""mem0 imported so that it calls nobody and writes nowhere else, and how we name its users."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from corral.memory.scope import Scope

__all__ = ["importing_mem0", "owner_of"]

_IMPORTING: Final = threading.Lock()


@contextmanager
def importing_mem0(home: Path) -> Generator[None]:
    """For the block of the imports: telemetry off, and mem0's own folder is `home`. One thread at a time."""
    with _IMPORTING:
        values = {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(home)}
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def owner_of(scope: Scope) -> dict[str, str]:
    """The ids under which mem0 keeps the facts of `scope`."""
    # Encoded, because mem0 refuses white space and reads "*" as a wildcard.
    return {"user_id": quote(scope.user, safe=""), "agent_id": quote(scope.agent, safe="")}
