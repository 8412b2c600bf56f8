"""The reference servers of MCP, on Node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.tools import MCPServer, Observation, StdioServer, Tool, Toolbox

pytestmark = pytest.mark.node

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


async def test_server_everything_sends_text_and_images(
    perform: Perform, node_server: Callable[..., StdioServer]
) -> None:
    async with Toolbox(MCPServer("everything", node_server("everything", "stdio"))) as box:
        assert box.failures == {}
        assert (await perform(box["everything_echo"], {"message": "hello"})).text == "Echo: hello"
        assert "[image image/png," in (await perform(box["everything_get_tiny_image"], {})).text
        for each in box.tools:
            compile(each.signature() + ("" if each.description else "\n    ..."), each.name, "exec")


async def test_server_filesystem_keeps_to_its_folder(
    perform: Perform, node_server: Callable[..., StdioServer], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("remember the milk", encoding="utf-8")
    async with Toolbox(MCPServer("disk", node_server("filesystem", str(tmp_path)))) as box:
        seen = await perform(box["disk_read_text_file"], {"path": str(tmp_path / "note.txt")})
        assert (seen.is_error, seen.text) == (False, "remember the milk")
        assert (await perform(box["disk_read_text_file"], {"path": "/etc/hostname"})).is_error
