"""Skills of MCP servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from corral.tools import MCPServer, ToolSourceError

Server = Callable[..., MCPServer]


async def test_a_skill_is_loaded_if_it_is_what_was_listed(server: Server) -> None:
    async with server("raw", "skilled") as source:
        hay, chaff = await source.skills()
        assert (hay.name, hay.description) == ("hay", "How to.")
        assert await source.load_skill(hay) == {
            "skill://hay/SKILL.md": "---\nname: hay\ndescription: How to.\n---\nDo it.\n"
        }
        with pytest.raises(ToolSourceError, match="is not the one that was listed"):
            await source.load_skill(chaff)


async def test_a_server_without_skills_has_none(server: Server) -> None:
    async with server("raw", "junk") as source:
        assert await source.skills() == ()
