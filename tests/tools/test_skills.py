"""Skills of MCP servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from corral.policy import Action, Denied, Gate, NotAdmitted, Policy, SecurityPolicy
from corral.tools import MCPServer, Skill, ToolSourceError

Server = Callable[..., MCPServer]


async def load(gate: Gate, source: MCPServer, skill: Skill) -> dict[str, str]:
    action = Action(f"tool:raw/skills/{skill.name}", "call")
    return await gate.perform(action, lambda admission: source.load_skill(skill, admission))


async def test_a_skill_is_loaded_if_it_is_what_was_listed(server: Server, gate: Gate) -> None:
    async with server("raw", "skilled") as source:
        hay, chaff = await source.skills()
        assert (hay.name, hay.description) == ("hay", "How to.")
        assert await load(gate, source, hay) == {
            "skill://hay/SKILL.md": "---\nname: hay\ndescription: How to.\n---\nDo it.\n"
        }
        with pytest.raises(ToolSourceError, match="is not the one that was listed"):
            await load(gate, source, chaff)


async def test_no_skill_is_read_past_the_gate(server: Server, gate: Gate) -> None:
    only_chaff = Gate(Policy(rules=[SecurityPolicy(resource="tool:raw/skills/chaff", actions=["call"])]))
    async with server("raw", "skilled") as source:
        hay = (await source.skills())[0]
        with pytest.raises(Denied):
            await load(only_chaff, source, hay)
        action = Action("tool:raw/skills/chaff", "call")
        with pytest.raises(NotAdmitted, match="not for call tool:raw/skills/hay"):
            await only_chaff.perform(action, lambda admission: source.load_skill(hay, admission))
        with pytest.raises(NotAdmitted, match="is read by a tool"):
            await source.read_skill(hay, hay.files[0])


async def test_a_server_without_skills_has_none(server: Server) -> None:
    async with server("raw", "junk") as source:
        assert await source.skills() == ()
