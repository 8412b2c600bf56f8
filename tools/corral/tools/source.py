"""Where tools come from: a protocol, and plain functions as the nearest source."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from corral.policy import Admission
from corral.tools.errors import ToolConfigError
from corral.tools.function import make_tool
from corral.tools.observation import Observation
from corral.tools.tool import Tool

__all__ = ["FunctionTools", "ReadyTools", "ToolSource", "as_source", "refuse_twins"]


@runtime_checkable
class ToolSource(Protocol):
    """Tools that come and go together, such as those of one server; usable between `__aenter__` and `__aexit__`.

    `__aexit__` may run in another task than `__aenter__`, and leaves nothing running.
    """

    @property
    def name(self) -> str:
        """The part of its tools' resources between "tool:" and "/"."""
        ...

    async def tools(self) -> list[Tool]:
        """All of them, in the source's own order."""
        ...

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        """Call the tool whose own name in this source is `name`; as `Tool.call`."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ReadyTools:
    """A source whose tools are there from the beginning, and that has nothing to open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tools: dict[str, Tool] = {}

    async def tools(self) -> list[Tool]:
        return list(self._tools.values())

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        return await self._tools[name].call(arguments, admission)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class FunctionTools(ReadyTools):
    """Python functions, and ready-made tools, as one source.

    Args:
        functions: Functions become tools with the effect "once"; a `Tool` keeps all that it says.
        name: The source's name in the resources of the functions' tools.

    Raises:
        ToolConfigError: A function can't be a tool, or two have one name.
    """

    def __init__(self, *functions: Tool | Callable[..., Any], name: str = "local") -> None:
        super().__init__(name)
        for function in functions:
            made = function if isinstance(function, Tool) else make_tool(function, source=name)
            if made.name in self._tools:
                raise ToolConfigError(f"tool {made.name!r}", "two functions have this name")
            self._tools[made.name] = made


def as_source(source: ToolSource | Tool | Callable[..., Any]) -> ToolSource:
    """A source as it is; a tool or a function as a source of its own."""
    if isinstance(source, Tool):
        return FunctionTools(source)
    if isinstance(source, ToolSource):
        return source
    return FunctionTools(source)


def refuse_twins(sources: list[ToolSource]) -> None:
    """Raise if two have one name; functions may share theirs."""
    names = [source.name for source in sources if not isinstance(source, FunctionTools)]
    for name in names:
        if names.count(name) > 1:
            raise ToolConfigError("toolbox", f"two sources are called {name!r}; rename one")
