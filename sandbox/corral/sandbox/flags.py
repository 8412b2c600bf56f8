"""What the engine is asked to hold a container with: the outer wall."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.sandbox import owner
from corral.sandbox.certificates import authorities
from corral.sandbox.engine import LABEL
from corral.sandbox.guest.egress import CERTIFICATES
from corral.sandbox.sandbox import Limits

__all__ = ["CHECKPOINT_BYTES", "RELAY_UID", "Settings", "boot", "container_config", "host_config", "program"]

PACKAGES = "/run/corral-packages"
"""Where it has the wheels that were installed for it, if there are any."""

MOUNT = "/run/corral"
"""Where a container has the folder with the guest's program and the host's socket."""

RELAY_UID = 19_999
"""The user of what passes bytes on in a container."""

CHECKPOINT_BYTES = 500 * 1024**2
"""Copying a larger session takes too long, and what its next cell changes would be there twice."""

INODES = 16_384
"""Files and folders on the temporary file system, which would else take memory without taking space."""


def boot(folder: str) -> str:
    """The program that starts a zygote whose folder is there."""
    program = "from guest import hooks; hooks.hold_back(); from guest.zygote import main"
    return f"import sys; sys.path.insert(0, {folder!r}); {program}; main({folder + '/host.sock'!r})"


def boot_attached(uid: int) -> str:
    """The program that takes the guest's program from stdin, writes it to MOUNT, and starts a relay and a zygote.

    It comes as `program` gives it; the relay becomes the user `uid`.
    """
    return f"""
import json, os, sys
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit("the host hung up")
    return data
for name, text in json.loads(read(int.from_bytes(read(4), "big"))).items():
    os.makedirs(os.path.dirname(os.path.join({MOUNT!r}, name)), exist_ok=True)
    with open(os.path.join({MOUNT!r}, name), "w") as file:
        file.write(text)
sys.path.insert(0, {MOUNT!r})
from guest import hooks
hooks.hold_back()
from guest.relay import main
main({MOUNT!r}, {uid})
"""


def program() -> bytes:
    """The guest's program, and the authorities that this machine trusts, as `boot_attached` reads them."""
    source = Path(__file__).with_name("guest")
    files = {f"guest/{path.name}": path.read_text() for path in source.glob("*.py")}
    body = json.dumps({**files, CERTIFICATES: authorities().decode()}).encode()
    return len(body).to_bytes(4, "big") + body


@dataclass(frozen=True)
class Settings:
    """How containers are made.

    Attributes:
        image: A tag that the engine has.
        may_lack: Protections that a session may go without: "landlock", "seccomp".
        runtime: The engine's runtime, "runsc" for gVisor; None for its default.
        packages: The folder of wheels for sessions; None is none.
        gpus: How many graphics processors a container has; -1 is all.
        attached: Whether all goes over stdin and stdout of the container, because the engine sees no folder of ours.
        checkpoint_bytes: A session that holds more memory of its own is not copied between cells; 0 copies none.
    """

    image: str
    may_lack: frozenset[str] = frozenset()
    runtime: str | None = None
    checkpoint_bytes: int = CHECKPOINT_BYTES
    packages: Path | None = None
    attached: bool = False
    gpus: int = 0


def container_config(settings: Settings, label: str, token: str) -> dict[str, Any]:
    """Keyword arguments of docker-py's `create_container`."""
    start = boot_attached(RELAY_UID) if settings.attached else boot(MOUNT)
    return {
        "image": settings.image,
        "name": f"corral-{_slug(label)}-{secrets.token_hex(4)}",
        "entrypoint": ["python3", "-I", "-B", "-c", start],
        "stdin_open": settings.attached,
        "user": "0:0",
        "environment": {"CORRAL_TOKEN": token, "CORRAL_PACKAGES": PACKAGES if settings.packages else ""},
        "labels": {LABEL: "1", "corral.label": label, **owner.labels()},
        "network_disabled": True,
    }


def host_config(settings: Settings, limits: Limits, folder: Path | None) -> dict[str, Any]:
    """Keyword arguments of docker-py's `create_host_config`: the outer wall."""
    from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

    return {
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "cap_add": ["SETUID", "SETGID"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {
            "/tmp": f"rw,noexec,nosuid,nodev,size={limits.disk_bytes},nr_inodes={INODES},mode=1777",
            **({MOUNT: "rw,noexec,nosuid,nodev,size=4m,mode=755"} if settings.attached else {}),
        },
        "pids_limit": limits.processes,
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,
        "nano_cpus": int(limits.cpus * 1e9),
        "ipc_mode": "none",
        "log_config": LogConfig(type="none"),
        "ulimits": [
            Ulimit(name="nofile", soft=limits.open_files, hard=limits.open_files),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "mounts": [
            Mount(target, str(source), type="bind", read_only=True)
            for target, source in ((MOUNT, folder), (PACKAGES, settings.packages))
            if source is not None
        ],
        "auto_remove": True,  # when this process is killed the zygote exits, and then nothing is left
        "runtime": settings.runtime,
        "device_requests": [DeviceRequest(count=settings.gpus, capabilities=[["gpu"]])] if settings.gpus else None,
    }


def _slug(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", label)[:40].strip("-") or "sandbox"
