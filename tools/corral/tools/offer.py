"""What of many tools a model is shown at first, and the tool by which it finds the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from corral.policy import Integrity, Label
from corral.tools.observation import Observation
from corral.tools.search import SearchIndex
from corral.tools.tool import Effect, Tool

__all__ = ["SEARCH", "Offer"]

SEARCH: Final = "tool:toolbox/search_tools"
_FIRST: Final = 11
"""Of the program's own tools, at the most: with `search_tools`, a dozen."""
_OWN: Final = ("tool:results/", "tool:local/", "tool:skills/", "agent:")
_FOUND: Final = 5
_WORDS: Final = 60
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "What the tool should do, in a few words."},
        "limit": {"type": "integer", "description": "How many to show, at most 10.", "default": _FOUND},
    },
    "required": ["query"],
    "additionalProperties": False,
}


class Offer:
    """At most `most` tools at first, and never more than a dozen: those of the program itself, and `search_tools`; then
    also those that were found.

    All the others may be called by name as well; only they are not shown.
    """

    def __init__(self, tools: Sequence[Tool], most: int) -> None:
        self._tools = tuple(tools)
        # The sort is stable: what reads shortened results goes first, then the program's own in their order.
        own = [tool for tool in tools if tool.resource.startswith(_OWN)]
        local = sorted(own, key=lambda tool: not tool.resource.startswith(_OWN[0]))
        self.first = tuple(local[: min(most - 1, _FIRST)])
        self._shown = {tool.name: tool for tool in self.first}
        self.search = Tool(
            "search_tools",
            SEARCH,
            self._search,
            description=f"Find tools by what they do; there are {len(tools)}. Those found can then be called.",
            input_schema=_SCHEMA,
            effect=Effect.READ,
            read_only=True,
            parallel=False,
            label=Label(Integrity.UNTRUSTED, sources=frozenset((SEARCH,))),
        )

    @cached_property
    def index(self) -> SearchIndex:
        return SearchIndex(self._tools)

    @property
    def shown(self) -> tuple[Tool, ...]:
        """What a model is shown now, in the order in which it came to be."""
        return (*self._shown.values(), self.search)

    async def _search(self, arguments: dict[str, Any]) -> Observation:
        limit = min(max(1, arguments.get("limit", _FOUND)), 10)
        found = self.index.search(arguments["query"], limit)
        self._shown.update((tool.name, tool) for tool in found)
        label = Label.join_all([self.search.label, *(tool.label for tool in found)])
        parts = [tool.signature() for tool in found] or ["no tool fits these words; try others"]
        if not found or self.index.is_strange(arguments["query"]):
            parts.append(f"[most of these words stand in no tool; names have {', '.join(self.index.words(_WORDS))}]")
        return Observation("\n\n".join(parts), [tool.name for tool in found] or None, label=label)
