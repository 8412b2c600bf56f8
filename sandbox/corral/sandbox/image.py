"""The image that sandbox containers start from: a small Linux with CPython, and nothing of ours in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio import to_thread

from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxUnavailable

__all__ = ["IMAGE", "build", "image_exists"]

VERSION = "1"
"""Of what the guest needs from an image; raise it when that changes."""

IMAGE = f"corral-sandbox:{VERSION}"

EPOCH = "1735689600"
"""2025-01-01: stamped on every file, so that the same packages give the same image."""

SUITE = "bookworm"

# Hash-based .pyc that are never checked: the root is read-only, so a stale or missing one would be compiled
# anew in every container.
COMPILE = (
    "python3 -m compileall -q -f --invalidation-mode unchecked-hash "
    "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"
)

DOCKERFILE = f"""\
FROM python:3.12-slim-bookworm
ENV SOURCE_DATE_EPOCH={EPOCH}
RUN rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /var/lib/apt/lists/* && ({COMPILE} || true)
LABEL corral.sandbox.image={VERSION}
"""

UNWANTED = ("doc/*", "man/*", "info/*", "locale/*", "lintian/*", "bash-completion/*")


async def image_exists() -> bool:
    """Whether the engine has the image of this version.

    Raises:
        SandboxUnavailable: No engine answers.
    """

    def look() -> bool:
        engine = Engine.connect()
        try:
            return engine.has_image(IMAGE)
        finally:
            engine.close()

    return await to_thread.run_sync(look)


async def build(progress: Callable[[str], None]) -> str:
    """Make the image: from the public Python image where a registry answers, else from Debian packages.

    Args:
        progress: Told what happens, a line at a time, on the event loop's thread.

    Returns:
        The image's name.

    Raises:
        SandboxUnavailable: No engine answers, or neither road works; the message says what to install.
    """
    engine = await to_thread.run_sync(Engine.connect)
    try:
        try:
            await _from_registry(engine, progress)
        except SandboxUnavailable as error:
            progress(f"no image from a registry: {error}")
            await _from_packages(engine, progress)
    finally:
        engine.close()
    progress(f"built {IMAGE}")
    return IMAGE


async def _from_registry(engine: Engine, progress: Callable[[str], None]) -> None:
    from anyio import from_thread

    def run() -> None:
        for line in engine.build_image(DOCKERFILE, IMAGE):
            from_thread.run_sync(progress, line)

    progress("building from python:3.12-slim-bookworm")
    await to_thread.run_sync(run)


async def _from_packages(engine: Engine, progress: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="corral-image-") as folder:
        tar = Path(folder, "root.tar")
        if shutil.which("mmdebstrap"):
            progress(f"building from Debian packages ({SUITE}) with mmdebstrap; about half a minute")
            await _run(_mmdebstrap(tar))
        elif shutil.which("debootstrap") and os.geteuid() == 0:
            progress(f"building from Debian packages ({SUITE}) with debootstrap; a minute or two")
            await _debootstrap(Path(folder, "root"), tar)
        else:
            raise SandboxUnavailable(
                "the sandbox image cannot be built: no registry answers, and mmdebstrap is missing; "
                "install it (apt install mmdebstrap) or load an image and tag it " + IMAGE
            )
        progress("importing it into the engine")
        changes = [f"LABEL corral.sandbox.image={VERSION}", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
        await to_thread.run_sync(engine.import_image, tar, IMAGE, changes)


def _mmdebstrap(tar: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=essential",  # no apt inside: nothing could be installed from there anyway
        "--include=python3",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{path}" for path in UNWANTED),
        f'--customize-hook=chroot "$1" sh -c "{_quoted(COMPILE)}"',
        '--customize-hook=rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*',
        SUITE,
        str(tar),
    ]


async def _debootstrap(root: Path, tar: Path) -> None:
    await _run(["debootstrap", "--variant=minbase", "--include=python3", SUITE, str(root)])
    await _run(["chroot", str(root), "sh", "-c", f"{COMPILE}; rm -rf /var/cache/* /var/lib/apt/lists/* /usr/share/doc"])
    await _run(["tar", "--sort=name", f"--mtime=@{EPOCH}", "--exclude=./dev/*", "-C", str(root), "-cf", str(tar), "."])


def _quoted(command: str) -> str:
    return command.replace("$", "\\$")


async def _run(command: list[str]) -> None:
    done = await anyio.run_process(command, check=False, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise SandboxUnavailable(f"the sandbox image cannot be built: {command[0]} failed: {last}")
