"""The image that sandbox containers start from: a small Linux with CPython, and nothing of ours in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread

from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxUnavailable

__all__ = ["IMAGE", "Flavour", "build", "image_exists", "image_name"]

VERSION = "1"
"""Of what the guest needs from an image; raise it when that changes."""

IMAGE = f"corral-sandbox:{VERSION}"

Flavour = Literal["slim", "data"]
"""slim has the standard library alone; data also numpy, pandas, matplotlib and Pillow."""

WHEELS: dict[Flavour, str] = {"slim": "", "data": "numpy pandas matplotlib pillow"}
PACKAGES: dict[Flavour, str] = {"slim": "", "data": "python3-numpy,python3-pandas,python3-matplotlib,python3-pil"}

EPOCH = "1735689600"
"""2025-01-01: stamped on every file, so that the same packages give the same image."""

SUITE = "bookworm"

# Hash-based .pyc that are never checked: the root is read-only, so a stale or missing one would be compiled
# anew in every container.
COMPILE = (
    "python3 -m compileall -q -f --invalidation-mode unchecked-hash "
    "$(python3 -c 'import os; print(os.path.dirname(os.__file__))') $(ls -d /usr/lib/python3/dist-packages || true)"
)

DOCKERFILE = f"""\
FROM python:3.12-slim-bookworm
ENV SOURCE_DATE_EPOCH={EPOCH}
INSTALL
RUN rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /var/lib/apt/lists/* && ({COMPILE} || true)
LABEL corral.sandbox.image={VERSION}
"""

UNWANTED = ("doc/*", "man/*", "info/*", "locale/*", "lintian/*", "bash-completion/*")


def image_name(flavour: Flavour = "slim") -> str:
    """The tag of a flavour, to give to `DockerProvider`."""
    return IMAGE if flavour == "slim" else f"{IMAGE}-{flavour}"


async def image_exists(flavour: Flavour = "slim") -> bool:
    """Whether the engine has the image of this version.

    Raises:
        SandboxUnavailable: No engine answers.
    """

    def look() -> bool:
        engine = Engine.connect()
        try:
            return engine.has_image(image_name(flavour))
        finally:
            engine.close()

    return await to_thread.run_sync(look)


async def build(progress: Callable[[str], None], flavour: Flavour = "slim") -> str:
    """Make an image: from the public Python image where a registry answers, else from Debian packages.

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
            await _from_registry(engine, progress, flavour)
        except SandboxUnavailable as error:
            progress(f"no image from a registry: {error}")
            await _from_packages(engine, progress, flavour)
    finally:
        engine.close()
    progress(f"built {image_name(flavour)}")
    return image_name(flavour)


async def _from_registry(engine: Engine, progress: Callable[[str], None], flavour: Flavour) -> None:
    from anyio import from_thread

    def run() -> None:
        install = f"RUN pip install --no-cache-dir --no-compile {WHEELS[flavour]}" if WHEELS[flavour] else ""
        for line in engine.build_image(DOCKERFILE.replace("INSTALL", install), image_name(flavour)):
            from_thread.run_sync(progress, line)

    progress("building from python:3.12-slim-bookworm")
    await to_thread.run_sync(run)


async def _from_packages(engine: Engine, progress: Callable[[str], None], flavour: Flavour) -> None:
    with tempfile.TemporaryDirectory(prefix="corral-image-") as folder:
        tar = Path(folder, "root.tar")
        if shutil.which("mmdebstrap"):
            progress(f"building from Debian packages ({SUITE}) with mmdebstrap; about half a minute")
            await _run(_mmdebstrap(tar, PACKAGES[flavour]))
        elif shutil.which("debootstrap") and os.geteuid() == 0:
            progress(f"building from Debian packages ({SUITE}) with debootstrap; a minute or two")
            await _debootstrap(Path(folder, "root"), tar, PACKAGES[flavour])
        else:
            raise SandboxUnavailable(
                "the sandbox image cannot be built: no registry answers, and mmdebstrap is missing; "
                "install it (apt install mmdebstrap) or load an image and tag it " + image_name(flavour)
            )
        progress("importing it into the engine")
        changes = [f"LABEL corral.sandbox.image={VERSION}", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
        await to_thread.run_sync(engine.import_image, tar, image_name(flavour), changes)


def _mmdebstrap(tar: Path, packages: str) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=essential",  # no apt inside: nothing could be installed from there anyway
        f"--include={_with_python(packages)}",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{path}" for path in UNWANTED),
        f'--customize-hook=chroot "$1" sh -c "{_quoted(COMPILE)}"',
        '--customize-hook=rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*',
        SUITE,
        str(tar),
    ]


async def _debootstrap(root: Path, tar: Path, packages: str) -> None:
    await _run(["debootstrap", "--variant=minbase", f"--include={_with_python(packages)}", SUITE, str(root)])
    await _run(["chroot", str(root), "sh", "-c", f"{COMPILE}; rm -rf /var/cache/* /var/lib/apt/lists/* /usr/share/doc"])
    await _run(["tar", "--sort=name", f"--mtime=@{EPOCH}", "--exclude=./dev/*", "-C", str(root), "-cf", str(tar), "."])


def _with_python(packages: str) -> str:
    # libstdc++6: wheels may count on it (PEP 600), and nothing here without apt brings it.
    return ",".join(filter(None, ("python3", "libstdc++6", packages)))


def _quoted(command: str) -> str:
    return command.replace("$", "\\$")


async def _run(command: list[str]) -> None:
    done = await anyio.run_process(command, check=False, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise SandboxUnavailable(f"the sandbox image cannot be built: {command[0]} failed: {last}")
