"""Where code runs that nobody has read: sessions in Docker or Monty, behind one protocol."""

from corral.sandbox.auto import AutoProvider, Choice, choose
from corral.sandbox.docker import DockerProvider, sweep
from corral.sandbox.errors import (
    SandboxError,
    SandboxFileError,
    SandboxGone,
    SandboxProtocolError,
    SandboxUnavailable,
)
from corral.sandbox.image import IMAGE, build, image_exists
from corral.sandbox.monty import MontyProvider
from corral.sandbox.probe import Probe, probe
from corral.sandbox.sandbox import (
    CellError,
    CellErrorKind,
    Execution,
    Host,
    Json,
    Limits,
    Sandbox,
    SandboxProvider,
    SandboxSpec,
)

__all__ = [
    "IMAGE",
    "AutoProvider",
    "CellError",
    "CellErrorKind",
    "Choice",
    "DockerProvider",
    "Execution",
    "Host",
    "Json",
    "Limits",
    "MontyProvider",
    "Probe",
    "Sandbox",
    "SandboxError",
    "SandboxFileError",
    "SandboxGone",
    "SandboxProtocolError",
    "SandboxProvider",
    "SandboxSpec",
    "SandboxUnavailable",
    "build",
    "choose",
    "image_exists",
    "probe",
    "sweep",
]
