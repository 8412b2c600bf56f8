"""Where code runs that nobody has read: sessions in Docker or Monty, behind one protocol."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.sandbox.attacks import ATTACKS, Attack, AttackKind, Held
    from corral.sandbox.auto import PROVIDERS, AutoProvider, Choice, ProviderName, choose, provider_named
    from corral.sandbox.census import Pruned, Running, prune, running, sweep
    from corral.sandbox.diagnosis import Probe, probe
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
    from corral.sandbox.trial import AttackOutcome, check, promised
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "attacks": "ATTACKS Attack AttackKind Held",
            "auto": "PROVIDERS AutoProvider Choice ProviderName choose provider_named",
            "census": "Pruned Running prune running sweep",
            "trial": "AttackOutcome check promised",
            "docker": "DockerProvider",
            "errors": "SandboxError SandboxFileError SandboxGone SandboxProtocolError SandboxUnavailable",
            "image": "IMAGE Flavour build image_exists image_name",
            "linux": "LinuxProvider",
            "monty": "MontyProvider",
            "network": "Network",
            "packages": "Packages",
            "pool": "Sizes",
            "diagnosis": "Probe probe",
            "sandbox": (
                "Artifact CellError CellErrorKind Execution Host Json Limits Sandbox SandboxProvider SandboxSpec"
            ),
        },
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
