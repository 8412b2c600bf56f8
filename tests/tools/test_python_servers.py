"""The reference servers of MCP that are written in Python, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.tools import BadArguments, MCPServer, Observation, StdioServer, Tool, Toolbox

from .plain import plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


def server(name: str, *args: str) -> MCPServer:
    return MCPServer(name, StdioServer(sys.executable, ("-m", f"mcp_server_{name}", *args)))


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True).stdout


async def test_mcp_server_git_stages_and_commits(perform: Perform, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@farm.example")):
        git(tmp_path, "config", key, value)
    (tmp_path / "hay.txt").write_text("ten bales", encoding="utf-8")
    where = {"repo_path": str(tmp_path)}
    async with Toolbox(server("git", "--repository", str(tmp_path))) as box:
        assert box.failures == {}
        assert "hay.txt" in (await perform(box["git_git_status"], where)).text
        assert not (await perform(box["git_git_add"], {**where, "files": ["hay.txt"]})).is_error
        assert not (await perform(box["git_git_commit"], {**where, "message": "Bring in the hay"})).is_error
        assert "Bring in the hay" in (await perform(box["git_git_log"], {**where, "max_count": 1})).text
        assert (await perform(box["git_git_status"], {"repo_path": "/"})).is_error
        with pytest.raises(BadArguments, match="'files'"):
            box["git_git_add"].check(where)
    assert git(tmp_path, "log", "--format=%an %s") == "Ada Bring in the hay\n"


async def test_mcp_server_fetch_reads_a_page_of_this_machine(perform: Perform) -> None:
    with plain() as web:
        async with Toolbox(server("fetch", "--ignore-robots-txt", "--allow-private-ips")) as box:
            assert box.failures == {}
            seen = await perform(box["fetch_fetch"], {"url": f"{web.url}/page", "raw": True, "max_length": 200})
            assert not seen.is_error
            assert f"{web.url}/page" in seen.text
            assert (await perform(box["fetch_fetch"], {"url": "http://127.0.0.1:9/"})).is_error
            (prompt,) = await box.prompts()
            assert not (await perform(prompt, {"url": f"{web.url}/other"})).is_error
    assert [asked.path for asked in web.asked] == ["/page", "/other"]
