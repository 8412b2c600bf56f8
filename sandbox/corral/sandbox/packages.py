"""Packages for sessions: wheels put into a folder on this machine, which containers see read-only.

Nothing is installed in a container and nothing of a package runs here: source distributions are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.sandbox.errors import SandboxUnavailable

__all__ = ["Packages"]

TIMEOUT = 600.0
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*([<>=!~][^;@\s]*)?\s*")


@dataclass(frozen=True)
class Packages:
    """Which packages sessions have beside what the image has.

    Attributes:
        requirements: As pip takes them, but only a name, extras and versions: no URL, no path, no option.
        allowed: Names that may be asked for; what they need comes along.
        options: More words for pip or uv, such as "--no-index", "--find-links" and a folder where there is no network.
        cache: Where the folders are kept, one for each set; None is the user's cache.
    """

    requirements: Sequence[str] = ()
    allowed: Collection[str] = ()
    options: Sequence[str] = ()
    cache: Path | None = None

    def check(self) -> None:
        """Refuse what is not on the list.

        Raises:
            ValueError: It names what, and what is allowed.
        """
        allowed = {_plain(name) for name in self.allowed}
        for requirement in self.requirements:
            match = REQUIREMENT.fullmatch(requirement)
            if match is None:
                raise ValueError(f"not a package name with versions: {requirement!r}")
            if _plain(match[1]) not in allowed:
                raise ValueError(f"{match[1]} is not on the list of allowed packages ({', '.join(sorted(allowed))})")

    def install(self, python: str, machine: str) -> Path:
        """The folder with the packages, made now if it is not in the cache. Blocks.

        Args:
            python: The version of the interpreter that will import them, "3.11.2".
            machine: Its `platform.machine()`.

        Raises:
            SandboxUnavailable: They could not be installed; the message has the installer's last line.
        """
        self.check()
        version = ".".join(python.split(".")[:2])
        what = json.dumps([sorted(self.requirements), list(self.options), version, machine])
        folder = self._cache() / hashlib.sha256(what.encode()).hexdigest()[:20]
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=folder.parent, prefix="making-"))
        try:
            _run(_command(making, version, machine), [*self.options, *self.requirements])
            for path in (making, *making.rglob("*")):
                path.chmod(
                    path.stat().st_mode | (0o755 if path.is_dir() else 0o444)
                )  # the container's root is no owner
            making.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return folder

    def _cache(self) -> Path:
        if self.cache is not None:
            return self.cache
        from platformdirs import user_cache_path

        return user_cache_path("corral") / "sandbox-packages"


def _command(target: Path, version: str, machine: str) -> list[str]:
    if uv := shutil.which("uv"):
        platform = ["--python-platform", f"{machine}-manylinux_2_28", "--python-version", version]
        return [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--target", str(target), *platform]
    platform = [word for name in ("2014", "_2_17", "_2_28") for word in ("--platform", f"manylinux{name}_{machine}")]
    words = ["install", "--quiet", "--no-compile", "--only-binary=:all:", "--target", str(target)]
    return [sys.executable, "-m", "pip", *words, *platform, "--python-version", version, "--implementation", "cp"]


def _run(command: list[str], words: Sequence[str]) -> None:
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=TIMEOUT, check=False, env={**os.environ}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SandboxUnavailable(f"the packages {', '.join(words)} could not be installed: {last}")


def _plain(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()
