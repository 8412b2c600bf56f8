"""Where code runs that nobody has read: sessions in Docker or Monty, behind one protocol."""

from corral.sandbox.attacks import ATTACKS, Attack, AttackKind, Held
from corral.sandbox.auto import PROVIDERS, AutoProvider, Choice, ProviderName, choose, provider_named
from corral.sandbox.census import Pruned, Running, prune, running, sweep
from corral.sandbox.check import AttackOutcome, check, promised
from corral.sandbox.docker import DockerProvider
from corral.sandbox.errors import (
    SandboxError,
    SandboxFileError,
    SandboxGone,
    SandboxProtocolError,
    SandboxUnavailable,
)
from corral.sandbox.image import IMAGE, Flavour, build, image_exists, image_name
from corral.sandbox.linux import LinuxProvider
from corral.sandbox.monty import MontyProvider
from corral.sandbox.network import Network
from corral.sandbox.packages import Packages
from corral.sandbox.pool import Sizes
from corral.sandbox.probe import Probe, probe
from corral.sandbox.sandbox import (
    Artifact,
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
    "ATTACKS",
    "IMAGE",
    "PROVIDERS",
    "Artifact",
    "Attack",
    "AttackKind",
    "AttackOutcome",
    "AutoProvider",
    "CellError",
    "CellErrorKind",
    "Choice",
    "DockerProvider",
    "Execution",
    "Flavour",
    "Held",
    "Host",
    "Json",
    "Limits",
    "LinuxProvider",
    "MontyProvider",
    "Network",
    "Packages",
    "Probe",
    "ProviderName",
    "Pruned",
    "Running",
    "Sandbox",
    "SandboxError",
    "SandboxFileError",
    "SandboxGone",
    "SandboxProtocolError",
    "SandboxProvider",
    "SandboxSpec",
    "SandboxUnavailable",
    "Sizes",
    "build",
    "check",
    "choose",
    "image_exists",
    "image_name",
    "probe",
    "promised",
    "provider_named",
    "prune",
    "running",
    "sweep",
]
