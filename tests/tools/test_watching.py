"""Changes of a server's resources, told while somebody listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from corral.policy import Action, Admission, Denied, Gate, NotAdmitted, Policy
from corral.tools import MCPServer, Observation, Tool, Toolbox, ToolSourceError

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]


async def watch(
    gate: Gate, source: MCPServer, uri: str, use: Callable[[AsyncIterator[str]], Awaitable[None]], **other: Any
) -> None:
    async def effect(admission: Admission) -> None:
        async with source.watching(other.get("asked", uri), admission=admission) as changes:
            await use(changes)

    resource = f"tool:{source.name}/watch_resources"
    with anyio.fail_after(20):
        await gate.perform(Action(resource, "call", arguments={"uris": [uri]}), effect)


@pytest.mark.parametrize(
    ("script", "args", "call", "uri"),
    [("lively", (), "lively_slam", "barn://door"), ("raw", ("watched",), "raw_misbehave", "x://y")],
    ids=["2026-07-28", "2024-11-05"],
)
async def test_changes_of_a_resource_are_told_also_after_a_restart(
    perform: Perform, gate: Gate, server: Server, script: str, args: tuple[str, ...], call: str, uri: str
) -> None:
    source = server(script, *args)

    async def listen(changes: AsyncIterator[str]) -> None:
        await perform(box[call], {})
        assert await anext(changes) == uri
        if script == "lively":
            await perform(box["lively_die"], {})
            assert await anext(changes) == uri  # it may have changed, while nobody was there to say so
            await perform(box[call], {})
            assert await anext(changes) == uri

    async with Toolbox(source) as box:
        await watch(gate, source, uri, listen)
        assert not (await perform(box[call], {})).is_error


async def test_who_can_not_watch_is_told_why(gate: Gate, server: Server) -> None:
    async def nothing(changes: AsyncIterator[str]) -> None:
        raise AssertionError("nothing is told")

    async with server("odd") as source:
        with pytest.raises(ToolSourceError, match="does not tell of changes of its resources"):
            await watch(gate, source, "x://y", nothing)
    async with server("lively") as source:
        with pytest.raises(Denied):
            await watch(Gate(Policy(rules=[])), source, "barn://door", nothing)
        with pytest.raises(NotAdmitted):
            await watch(gate, source, "barn://door", nothing, asked="barn://loft")
