"""The toolbox: tools of many sources under one roof, each with a name of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio

from corral.tools.artifacts import Artifacts
from corral.tools.errors import ToolConfigError, ToolError, ToolSourceError
from corral.tools.failure import explain
from corral.tools.names import MAX_NAME, distinguish, matches
from corral.tools.observation import Observation
from corral.tools.offer import SEARCH, Offer
from corral.tools.pins import Pins
from corral.tools.search import SearchIndex
from corral.tools.source import ToolSource, as_source, refuse_twins
from corral.tools.tool import Tool

__all__ = ["Toolbox"]

_SEPARATOR: Final = re.compile(r"[/.:]+|__+")
_CHANGES: Final = {
    "added": "nobody approved it yet",
    "changed": "its definition is not the one that was approved",
}


class Toolbox:
    """Opens its sources when entered, all at once, and closes them when left; in between their tools stand by name.

    Args:
        sources: Servers and other sources, tools, plain functions; their order is that of the tools.
        include: Globs on a tool's name or resource, such as "tool:time/*"; a tool that none fits is left out.
        exclude: The same, for tools that are left out.
        strict: A source that fails to open fails the toolbox; otherwise it is told in `failures`, unless the source is
            required (`MCPServer(required=True)`).
        max_offered: Tools that a model is shown at first; with more there is `search_tools`. None shows all.
        pins: Approved definitions; a source's tool that has none, or another one, is withheld and told in `failures`.
        artifacts: Keeps results that are too long, of which models get head and tail; adds the tool that reads on.

    Raises:
        ToolConfigError: Two sources have one name, or a function can't be a tool.
    """

    def __init__(
        self,
        *sources: ToolSource | Tool | Callable[..., Any],
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        strict: bool = False,
        max_offered: int | None = None,
        pins: Pins | None = None,
        artifacts: Artifacts | None = None,
    ) -> None:
        self._sources = [as_source(source) for source in (*sources, *(() if artifacts is None else (artifacts,)))]
        self._max_offered = max_offered
        self._offer: Offer | None = None
        self._pins = pins
        self._artifacts = artifacts
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._strict = strict
        self._opened: list[ToolSource] = []
        self._tools: dict[str, Tool] | None = None
        self._index: SearchIndex | None = None
        self.failures: dict[str, str] = {}
        """One sentence for each source that could not be opened ("time") and each tool left out ("time/odd tool")."""
        refuse_twins(self._sources)

    async def __aenter__(self) -> Self:
        if self._tools is not None:
            raise RuntimeError("the toolbox is open already")
        self.failures.clear()
        try:
            found = await self._open_all(self._sources)
        except BaseException:
            await self._close_all()
            raise
        self._tools = self._arrange(found)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tools = None
        await self._close_all()

    @property
    def is_open(self) -> bool:
        """Whether it was entered and not left yet."""
        return self._tools is not None

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All tools: source by source, each in its own order."""
        return tuple(self._by_name().values())

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools to show a model now: all, or with `max_offered` the few that it begins with and those it found."""
        return self.tools if self._offer is None else self._offer.shown

    def offered_to(self, found: Iterable[str]) -> tuple[Tool, ...]:
        """The same for one of several who search: those of the beginning, and what this one found, by name."""
        if self._offer is None:
            return self.tools
        tools = self._by_name()
        chosen = (*self._offer.first, *(tools[name] for name in found if name in tools), self._offer.search)
        return tuple({tool.name: tool for tool in chosen}.values())

    def found_by(self, tool: Tool, observation: Observation) -> tuple[str, ...]:
        """The names of the tools that a call found, if `tool` is the one that searches."""
        if tool.resource != SEARCH or not isinstance(observation.structured, list):
            return ()
        return tuple(str(name) for name in observation.structured)

    @property
    def has_changed(self) -> bool:
        """The tools of a source are others by now; `refresh` takes them."""
        return any(getattr(source, "has_changed", False) for source in self._opened)

    async def refresh(self) -> None:
        """List the tools of the sources that can say so again; a source that fails keeps those it had.

        What was withheld, left out or failed is told anew in `failures`.
        """
        self._by_name()
        failed = {name: why for name, why in self.failures.items() if name in {each.name for each in self._unopened()}}
        found: list[Tool] = []
        for source in self._opened_in_order():
            if hasattr(source, "refresh"):
                try:
                    await cast("Any", source).refresh()
                except ToolError as error:
                    failed[source.name] = str(error)
            found += await source.tools()
        self.failures.clear()
        self.failures.update(failed)
        self._tell_left_out()
        self._tools = self._arrange(found)

    async def reopen(self) -> None:
        """Open the sources that could not be opened before; one that fails again is told in `failures` as it was.

        Raises:
            ToolError: A required source, or any source of a strict toolbox, fails.
        """
        self._by_name()
        missing = self._unopened()
        for source in missing:
            self.failures.pop(source.name, None)
        await self._open_all(missing)
        self._tools = self._arrange([tool for source in self._opened_in_order() for tool in await source.tools()])

    async def prompts(self) -> list[Tool]:
        """What the sources offer a person to begin with, under names that don't collide; see `MCPServer.prompts`.

        A source that can't say is told in `failures`.
        """
        found: list[Tool] = []
        for source in self._opened_in_order():
            if hasattr(source, "prompts"):
                try:
                    found += await cast("Any", source).prompts()
                except ToolError as error:
                    self.failures[f"{source.name}/prompts"] = str(error)
        return distinguish(found)

    def search(self, query: str, limit: int = 5) -> list[Tool]:
        """The tools whose names, descriptions and parameters fit the words of `query` best, best first."""
        if self._index is None:
            self._index = SearchIndex(self.tools) if self._offer is None else self._offer.index
        return self._index.search(query, limit)

    def __getitem__(self, name: str) -> Tool:
        return self._by_name()[name]

    def get(self, name: str) -> Tool | None:
        return self._by_name().get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name()

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self._by_name())

    def suggest(self, name: str) -> list[str]:
        """At most three names of tools that `name` may have meant, the nearest first."""
        tools = self._by_name()
        # Models also write "server/tool", "server.tool" and "mcp__server__tool".
        last = _SEPARATOR.split(name)[-1]
        own = [tool.name for tool in tools.values() if tool.resource.partition("/")[2] in (name, last)]
        near = [*own, *get_close_matches(_SEPARATOR.sub("_", name), tools, n=3)]
        near = near or [tool.name for tool in self.search(name[:MAX_NAME], 3)]
        return list(dict.fromkeys(near))[:3]

    def _by_name(self) -> dict[str, Tool]:
        if self._tools is None:
            raise RuntimeError("the toolbox is not open: its tools exist inside `async with toolbox:`")
        return self._tools

    def _arrange(self, found: list[Tool]) -> dict[str, Tool]:
        tools = distinguish(self._chosen(found))
        self._index = None
        if self._artifacts is not None:
            shorten = self._artifacts.shorten
            tools = [tool if tool.resource.startswith("tool:results/") else tool.shortened(shorten) for tool in tools]
        self._offer = None
        if self._max_offered is not None and len(tools) > self._max_offered:
            self._offer = Offer(tools, self._max_offered)
            tools.append(self._offer.search)
        return {tool.name: tool for tool in tools}

    def _opened_in_order(self) -> list[ToolSource]:
        return [source for source in self._sources if source in self._opened]

    def _unopened(self) -> list[ToolSource]:
        return [source for source in self._sources if source not in self._opened]

    def _is_approved(self, tool: Tool) -> bool:
        change = None if self._pins is None else self._pins.change(tool)
        if change is None or (self._artifacts is not None and tool.resource.startswith("tool:results/")):
            return True
        name = tool.resource.removeprefix("tool:")
        self.failures[name] = f"it is withheld: {_CHANGES[change]}; look at the difference, then lock it anew"
        return False

    def _tell_left_out(self) -> None:
        for source in self._opened:
            left_out: dict[str, str] = getattr(source, "left_out", {})
            self.failures.update({f"{source.name}/{name}": why for name, why in left_out.items()})

    def _chosen(self, found: list[Tool]) -> list[Tool]:
        chosen: dict[tuple[str, str], Tool] = {}
        for tool in found:
            if not matches(tool, self._include) or matches(tool, self._exclude):
                continue
            if (tool.resource, tool.verb) in chosen:
                raise ToolConfigError(f"tool {tool.name!r}", f"two tools are called {tool.resource}")
            if self._is_approved(tool):
                chosen[tool.resource, tool.verb] = tool
        return list(chosen.values())

    async def _open_all(self, sources: list[ToolSource]) -> list[Tool]:
        found: dict[int, list[Tool]] = {}
        errors: dict[int, ToolError] = {}

        async def open_one(place: int, source: ToolSource) -> None:
            try:
                await source.__aenter__()
                self._opened.append(source)
                found[place] = await source.tools()
            except ToolError as error:
                errors[place] = error
            except Exception as error:  # noqa: BLE001 - a source is foreign code, and its failure leaves the others be
                errors[place] = ToolSourceError(source.name, explain(error, {}))

        async with anyio.create_task_group() as group:
            for place, source in enumerate(sources):
                group.start_soon(open_one, place, source)
        fatal = [place for place in errors if self._strict or getattr(sources[place], "required", False)]
        if fatal:
            raise errors[min(fatal)]
        self.failures.update({sources[place].name: str(errors[place]) for place in sorted(errors)})
        self._tell_left_out()
        return [tool for place in sorted(found) for tool in found[place]]

    async def _close_all(self) -> None:
        opened, self._opened = self._opened, []
        # Closing stops processes: a cancelled run may not leave any behind, and each source bounds its own end.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for source in opened:
                    group.start_soon(self._close_one, source)

    async def _close_one(self, source: ToolSource) -> None:
        try:
            await source.__aexit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - a source is foreign code, and the others must be closed too
            self.failures[source.name] = f"{source.name}: it could not be closed: {explain(error, {})}"
