"""Locked definitions of tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.tools import MCPServer, Pins, Toolbox, ToolConfigError, diff, lock, tool

Server = Callable[..., MCPServer]


@tool
def local() -> None:
    """The program's own."""


async def test_a_changed_description_withholds_a_tool_until_it_is_locked_again(server: Server, tmp_path: Path) -> None:
    source, path = server("raw", "fickle", str(tmp_path / "starts")), tmp_path / "tools.lock"
    async with Toolbox(source, local) as box:
        lock(box.tools, path)
        assert diff(box.tools, path) == ()
    async with Toolbox(source, local, pins=Pins.load(path)) as box:
        assert [each.name for each in box] == ["raw_misbehave", "local"]
        assert box.failures["raw/greet"].startswith("it is withheld: its definition is not the one that was approved")
    async with Toolbox(source) as box:
        (change,) = diff(box.tools, path)
        assert (change.resource, change.kind) == ("tool:raw/greet", "changed")
        assert '-  "description": "version 1",' in change.lines
        assert '+  "description": "version 3",' in change.lines


async def test_a_tool_that_nobody_approved_is_withheld(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "tools.lock"
    async with Toolbox(server("raw", "junk", exclude=("greet",))) as box:
        lock(box.tools, path)
    async with Toolbox(server("raw", "junk"), pins=Pins.load(path)) as box:
        assert [each.name for each in box] == ["raw_misbehave"]
        assert "nobody approved it yet" in box.failures["raw/greet"]
        assert diff((), path)[0].kind == "removed"


def test_the_schema_hash_follows_the_definition_and_not_the_name() -> None:
    @tool(name="local")
    def other() -> None:
        """Something else."""

    assert local.schema_hash == local.renamed("x").schema_hash
    assert local.schema_hash != other.schema_hash


def test_what_is_no_lock_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tools.lock"
    with pytest.raises(ToolConfigError, match="can't be read"):
        Pins.load(path)
    for text in ("{", "[]", json.dumps({"version": 9, "tools": {}})):
        path.write_text(text)
        with pytest.raises(ToolConfigError):
            Pins.load(path)
