"""What a sandbox is: a held place where code runs, and nothing it says is trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

from corral.sandbox.network import Network

__all__ = [
    "CODE_LIMIT",
    "Artifact",
    "CellError",
    "CellErrorKind",
    "Execution",
    "Host",
    "Json",
    "Limits",
    "Sandbox",
    "SandboxProvider",
    "SandboxSpec",
]

CODE_LIMIT = 1024**2
"""Characters that a cell may have."""

Json = Any
"""A JSON value: str, int, float, bool, None, list of Json, or dict of str to Json."""


@dataclass(frozen=True)
class Limits:
    """What one session may use. The container or interpreter enforces it, not the code in it.

    Attributes:
        memory_bytes: All memory of the container, swap included.
        cpus: Processors; 1.0 is one core.
        processes: Processes and threads in the container.
        disk_bytes: Size of the writable temporary file system.
        open_files: File descriptors per process.
        output_bytes: What a cell may print before it is cut in the middle.
        file_bytes: The largest file that `put` or `get` moves, and all that a folder's may have together.
        artifact_bytes: What a cell may show as artifacts.
    """

    memory_bytes: int = 512 * 1024**2
    cpus: float = 1.0
    processes: int = 128
    disk_bytes: int = 64 * 1024**2
    open_files: int = 256
    output_bytes: int = 64 * 1024
    file_bytes: int = 32 * 1024**2
    artifact_bytes: int = 16 * 1024**2


@dataclass(frozen=True)
class SandboxSpec:
    """What is asked of a provider when it opens a session."""

    limits: Limits = field(default_factory=Limits)
    label: str = ""
    """For people: shown by `docker ps` and in events."""
    trust: str = ""
    """Sessions share a container only with sessions of the same key, whose container ends with the last of them; ""
    are the provider's own, in containers that are used again."""
    network: Network | None = None
    """Which hosts code may reach, by HTTP and whatever else a client sends through an HTTP proxy; None is none. Such a
    session has a container of its own."""


class CellErrorKind(StrEnum):
    """How a cell failed. After SYNTAX, ERROR and TIMEOUT with `state_kept` the session goes on."""

    SYNTAX = "syntax"
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"


@dataclass(frozen=True)
class CellError:
    """Why a cell failed; `message` is one line, `traceback` shows the cell's own frames only."""

    kind: CellErrorKind
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Artifact:
    """Something that a cell showed: an image, a table, a figure. Made by code that nobody has read, like all of it.

    Attributes:
        name: A plain file name, such as "shown-1.png".
        media_type: RFC 6838, such as "image/png"; what the code says, not what anyone has checked.
    """

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True)
class Execution:
    """What one cell did.

    Attributes:
        output: stdout and stderr in order, cut in the middle past `Limits.output_bytes`.
        value: The last expression's value: JSON as it is, anything else as its repr; None if there was none.
        error: Why it failed, or None.
        submitted: What the cell handed to SUBMIT, by output name, or None if it did not.
        seconds: Wall time of the cell itself, host calls excluded.
        truncated: Whether `output` was cut.
        state_kept: Whether names defined so far are still there for the next cell.
        artifacts: What it showed with `display`, as its last value, or left open in pyplot; in that order.
    """

    output: str = ""
    value: Json = None
    error: CellError | None = None
    submitted: dict[str, Json] | None = None
    seconds: float = 0.0
    truncated: bool = False
    state_kept: bool = True
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class Host:
    """What code in a cell can reach outside: functions that the host answers.

    Attributes:
        tools: Names bound as functions in the cell; the host refuses every other name.
        call: Awaited for each call with (name, positional arguments, keyword arguments), all JSON; its result must be
            JSON. What it raises is raised in the cell as a RuntimeError with the same text. Threads of a cell, and
            `tool.map(items)` in it, call at the same time: up to 64 calls are awaited at once, each by itself.
        outputs: Parameter names of SUBMIT, in order; empty means SUBMIT is not bound.
    """

    tools: Sequence[str] = ()
    call: Callable[[str, list[Json], dict[str, Json]], Awaitable[Json]] | None = None
    outputs: Sequence[str] = ()


class Sandbox(Protocol):
    """One session: names that a cell defines stay for the next. Use it as an async context manager, or close it."""

    @property
    def name(self) -> str:
        """The provider's name, "docker" or "monty"."""
        ...

    @property
    def id(self) -> str:
        """Identifies the session; for Docker the container's short id (its hostname), a dot and the session number."""
        ...

    async def execute(
        self, code: str, variables: Mapping[str, Json] | None = None, *, timeout: float, host: Host | None = None
    ) -> Execution:
        """Run one cell and wait for it to end.

        Args:
            code: Python source, UTF-8, at most 1 MiB. `await` at top level is allowed.
            variables: Bound as global names before the cell; JSON values.
            timeout: Seconds of the cell's own time, host calls excluded.
            host: What the cell may call while it runs; None means nothing.

        Returns:
            What happened; a failing cell is a result, not an error.

        Raises:
            ValueError, TypeError: The code is too long, or the variables are not JSON; nothing was run.
            SandboxGone: The session ended before the cell did, and is closed.
            SandboxProtocolError: The guest broke the protocol; the session is closed.
        """
        ...

    async def put(self, path: str, data: bytes) -> None:
        """Write a file in the session's folder; `path` is relative, parents are made."""
        ...

    async def get(self, path: str) -> bytes:
        """Read a regular file from the session's folder; links are not followed."""
        ...

    async def close(self) -> None:
        """End the session and every process it started; closing twice is fine."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class SandboxProvider(Protocol):
    """Where sessions come from. `close` ends every session and everything the provider started."""

    @property
    def name(self) -> str: ...

    @property
    def instructions(self) -> str:
        """What a model should know about code that runs here, in two or three sentences."""
        ...

    @property
    def opens_network(self) -> bool:
        """Whether `SandboxSpec.network` is opened here; else `open` refuses it."""
        ...

    async def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        """Start a session.

        Raises:
            SandboxUnavailable: No engine, no image, or the session did not come up; the message says what to do.
        """
        ...

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
