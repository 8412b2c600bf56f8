"""Servers in processes of their own, for tests over HTTP."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self


class Process:
    """A server that prints its readiness; entered when it is ready, and killed when left.

    Args:
        ready: A pattern on a line of its output; its first group, if any, is kept in `said`, and a number is the port.
    """

    def __init__(
        self, command: Sequence[str], ready: str, *, port: int = 0, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.said = ""
        self._command = list(command)
        self._ready = ready
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, *args: str, **env: str) -> None:
        self._process = subprocess.Popen(
            [*self._command, *args],
            env={**self._env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        seen: list[str] = []
        for line in self._process.stdout:
            seen.append(line)
            match = re.search(self._ready, line)
            if match:
                self.said = match[1] if match.groups() else ""
                self.port = int(self.said) if self.said.isdigit() else self.port
                return
        raise AssertionError(f"it never became ready: {''.join(seen)}")

    def wait(self) -> None:
        """Until it has ended by itself."""
        if self._process is not None:
            self._process.wait(10)

    def kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
