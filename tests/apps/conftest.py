"""The command, as a person or a script starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .tmux import Terminal

Corral = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def corral(tmp_path: Path) -> Corral:
    """Runs the command in an empty home, which is also its folder; keyword arguments are environment variables."""

    def run(*arguments: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
        return subprocess.run(
            [sys.executable, "-m", "corral.apps", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            env={**environment, **variables},
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tmux is not installed")
        pytest.skip("tmux is not installed")
    made = Terminal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CORRAL_HOME": str(tmp_path / "data"),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
