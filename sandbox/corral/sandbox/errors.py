"""Errors of the sandbox room.

    SandboxError
    ├── SandboxUnavailable     no engine, no image, or the session could not be started
    ├── SandboxGone            the session (or its container) ended under us; its state is lost
    ├── SandboxProtocolError   the guest broke the protocol; the session was killed
    └── SandboxFileError       a file could not be put or got: a path trick, a cap, no such file

A failing cell is not an error: it is an `Execution` with a `CellError`.
"""

__all__ = ["SandboxError", "SandboxFileError", "SandboxGone", "SandboxProtocolError", "SandboxUnavailable"]


class SandboxError(Exception):
    """Base of what this room raises."""


class SandboxUnavailable(SandboxError):
    """No sandbox could be opened; the message says why and what to do."""


class SandboxGone(SandboxError):
    """The session ended: its process, its container or the engine went away."""


class SandboxProtocolError(SandboxError):
    """The guest sent something the protocol does not allow; the session was killed."""


class SandboxFileError(SandboxError):
    """A file could not be moved in or out."""
