"""What every suite may use: one event loop library, the Docker image of the sandbox, MCP servers from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from corral.sandbox import SandboxUnavailable, build, image_exists
from corral.tools import StdioServer

NODE_PACKAGES = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def docker_image() -> None:
    """Makes sure that Docker sandboxes open: builds a missing image, and skips without an engine (fails in CI)."""

    async def ensure() -> None:
        if not await image_exists():
            await build(lambda line: None)

    try:
        anyio.run(ensure)
    except SandboxUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node_server(request: pytest.FixtureRequest) -> Callable[..., StdioServer]:
    """Makes the configuration of an npm server such as "everything", installed once into pytest's cache.

    Without Node the test is skipped, but fails where CI=true: there it must run.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        reason = "Node and npm are not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(request.config.cache.mkdir("mcp-node-servers"))
    wanted = " ".join(NODE_PACKAGES)
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        command = [
            npm,
            "install",
            "--no-fund",
            "--no-audit",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            *NODE_PACKAGES,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        stamp.write_text(wanted)

    def make(name: str, *args: str) -> StdioServer:
        script = folder / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
        return StdioServer(node, (str(script), *args))

    return make
