"""The toolbox: tools of many sources under one roof, each with a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self

import anyio

from corral.tools.errors import ToolConfigError, ToolError, ToolSourceError
from corral.tools.failure import explain
from corral.tools.names import distinguish, matches
from corral.tools.source import FunctionTools, ToolSource
from corral.tools.tool import Tool

__all__ = ["Toolbox"]


class Toolbox:
    """Opens its sources when entered, all at once, and closes them when left; in between their tools stand by name.

    Args:
        sources: Servers and other sources, tools, plain functions; their order is that of the tools.
        include: Globs on a tool's name or resource, such as "tool:time/*"; a tool that none fits is left out.
        exclude: The same, for tools that are left out.
        strict: A source that fails to open fails the toolbox; otherwise it is told in `failures`.

    Raises:
        ToolConfigError: Two sources have one name, or a function can't be a tool.
    """

    def __init__(
        self,
        *sources: ToolSource | Tool | Callable[..., Any],
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        self._sources = [_as_source(source) for source in sources]
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._strict = strict
        self._opened: list[ToolSource] = []
        self._tools: dict[str, Tool] | None = None
        self.failures: dict[str, str] = {}
        """One sentence for each source that could not be opened ("time") and each tool left out ("time/odd tool")."""
        _refuse_twins(self._sources)

    async def __aenter__(self) -> Self:
        if self._tools is not None:
            raise RuntimeError("the toolbox is open already")
        self.failures.clear()
        try:
            found = await self._open_all()
        except BaseException:
            await self._close_all()
            raise
        self._tools = {tool.name: tool for tool in distinguish(self._chosen(found))}
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
        own = [tool.name for tool in tools.values() if tool.resource.partition("/")[2] == name]
        return list(dict.fromkeys([*own, *get_close_matches(name, tools, n=3)]))[:3]

    def _by_name(self) -> dict[str, Tool]:
        if self._tools is None:
            raise RuntimeError("the toolbox is not open: its tools exist inside `async with toolbox:`")
        return self._tools

    def _chosen(self, found: list[Tool]) -> list[Tool]:
        chosen: dict[str, Tool] = {}
        for tool in found:
            if not matches(tool, self._include) or matches(tool, self._exclude):
                continue
            if tool.resource in chosen:
                raise ToolConfigError(f"tool {tool.name!r}", f"two tools are called {tool.resource}")
            chosen[tool.resource] = tool
        return list(chosen.values())

    async def _open_all(self) -> list[Tool]:
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
            for place, source in enumerate(self._sources):
                group.start_soon(open_one, place, source)
        if errors and self._strict:
            raise errors[min(errors)]
        self.failures.update({self._sources[place].name: str(errors[place]) for place in sorted(errors)})
        for source in self._opened:
            left_out: dict[str, str] = getattr(source, "left_out", {})
            self.failures.update({f"{source.name}/{name}": why for name, why in left_out.items()})
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


def _as_source(source: ToolSource | Tool | Callable[..., Any]) -> ToolSource:
    if isinstance(source, Tool):
        return FunctionTools(source)
    if isinstance(source, ToolSource):
        return source
    return FunctionTools(source)


def _refuse_twins(sources: list[ToolSource]) -> None:
    names = [source.name for source in sources if not isinstance(source, FunctionTools)]
    for name in names:
        if names.count(name) > 1:
            raise ToolConfigError("toolbox", f"two sources are called {name!r}; rename one")
