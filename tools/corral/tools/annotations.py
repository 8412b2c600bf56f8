"""MCP's hints on tools, for those who trust the server that gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.tools.tool import Effect

if TYPE_CHECKING:
    import mcp_types

__all__ = ["believe"]


def believe(hints: mcp_types.ToolAnnotations | None) -> tuple[Effect, bool]:
    """The effect that the hints of a trusted server state, and whether the tool is read-only.

    A tool is open-world unless it says otherwise (specification of 2025-06-18, ToolAnnotations.openWorldHint), and what
    reads the open world can carry data out of it: never read-only.
    """
    if hints is None:
        return Effect.ONCE, False
    if hints.read_only_hint:
        return Effect.READ, hints.open_world_hint is False
    return (Effect.IDEMPOTENT if hints.idempotent_hint else Effect.ONCE), False
