"""The folder on this machine that a container has mounted, read-only: the guest's program and our socket."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

from corral.sandbox import owner

__all__ = ["listen", "make", "remove", "sweep", "unlink_socket"]

PREFIX = "corral-sandbox-"
SOCKET = "host.sock"
OWNER = "owner.json"
"""Who made the folder: a container removes itself when its owner is killed, its folder does not."""


def make() -> Path:
    """A folder with the guest's program, readable by the container's root, which has no rights over files here."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    source = Path(__file__).with_name("guest")
    shutil.copytree(source, folder / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / OWNER).touch(mode=0o600)  # no session's business
    (folder / OWNER).write_text(json.dumps(owner.labels()))
    return folder


def listen(folder: Path, name: str = SOCKET) -> socket.socket:
    """A socket in `folder` that the container may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.setblocking(False)
        # By way of /proc: an address holds 107 bytes at most (unix(7)), and a temporary folder may be deep.
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
        (folder / name).chmod(0o666)
        listener.listen(4)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener


def unlink_socket(folder: Path) -> None:
    (folder / SOCKET).unlink()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove this user's folders whose owner has died."""
    dead = [folder for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*") if _is_dead(folder)]
    for folder in dead:
        remove(folder)
    return dead


def _is_dead(folder: Path) -> bool:
    try:
        status = folder.lstat()
        labels: object = json.loads((folder / OWNER).read_text())
    except (OSError, ValueError):
        return False
    if status.st_uid != os.getuid() or not isinstance(labels, dict):
        return False
    return owner.is_dead({str(name): str(value) for name, value in labels.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
