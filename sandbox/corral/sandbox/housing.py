"""What a zygote runs in: a Docker container, or a process of this machine; the rest is the same for both."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corral.sandbox.sandbox import Limits

__all__ = ["Housing", "Terms"]


@dataclass(frozen=True)
class Terms:
    """How sessions are held in a housing.

    Attributes:
        users: Whether each session is a user of its own. Only where the zygote sees no processes but its sessions': it
            kills all of a user's at once.
        rlimits: Of each session's processes, by name.
        readable: What a session may read; None is all that file modes allow.
        folders: Where sessions have their folders.
        whole: Whether what runs in it shares limits on memory, processors, processes and disk.
        own_network: Whether they have no network device but a loopback of their own.
    """

    users: bool
    rlimits: Mapping[str, int]
    readable: tuple[str, ...] | None = None
    folders: str = "/tmp"
    whole: bool = False
    own_network: bool = True


class Housing(Protocol):
    """Starts and ends what zygotes run in. Every method but `terms` blocks."""

    @property
    def attached(self) -> bool:
        """Whether it sees no folder of ours, and all goes over its stdin and stdout."""
        ...

    def create(self, limits: Limits, label: str, token: str, folder: Path | None) -> str:
        """Make one, which `start` then starts; returns its id.

        Args:
            token: The guest finds it in CORRAL_TOKEN.
            folder: Has the guest's program and the host's socket; it can only be read there. None where it is attached.

        Raises:
            SandboxUnavailable: It could not be made.
        """
        ...

    def attach(self, id: str) -> socket.socket:
        """Its stdin and stdout, where it is attached; before it starts."""
        ...

    def start(self, id: str) -> None: ...

    def problem(self, id: str) -> str:
        """Why it does not run any more; empty while it does."""
        ...

    def remove(self, id: str) -> None:
        """Kill all that runs in it, and leave nothing."""
        ...

    def terms(self, limits: Limits) -> Terms: ...
