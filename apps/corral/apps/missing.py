"""What an agent must do without: said as a run begins, and too much where nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.apps.terminal import printable
from corral.policy import Event, SourceFailed

if TYPE_CHECKING:
    from corral.agents import Agent
    from corral.tools import Toolbox

__all__ = ["Missing", "require_tools"]


class Missing:
    """Says on stderr which sources of tools failed, and which tools were left out, each once; a `Sink`."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def emit(self, event: Event) -> None:
        if isinstance(event, SourceFailed):
            self._tell(event.source, event.problem)

    def tell(self, toolbox: Toolbox) -> None:
        for source, problem in toolbox.failures.items():
            self._tell(source, problem)

    def _tell(self, source: str, problem: str) -> None:
        if (source, problem) not in self._told:
            self._told.add((source, problem))
            problem = problem.removeprefix(f"{source}: ")
            click.echo(printable(f"corral: going on without {source}: {problem}"), err=True)


def require_tools(toolbox: Toolbox, agent: Agent | None = None) -> None:
    """Refuse to go on where every source of tools failed, and there is nothing else to act with.

    Args:
        toolbox: Open.

    Raises:
        ToolSourceError: Of the first source.
    """
    from corral.tools import ToolSourceError

    if agent is not None:
        from corral.agents import Actions

        if agent.actions & Actions.CODE:
            return
    failed = {name: problem for name, problem in toolbox.failures.items() if "/" not in name}
    if failed and all(tool.resource.startswith("tool:results/") for tool in toolbox):
        name, problem = next(iter(failed.items()))
        more = f"{', '.join([*failed][1:])} failed, too, and " if len(failed) > 1 else ""
        raise ToolSourceError(name, f"{problem.removeprefix(f'{name}: ')} ({more}no tool is left)")
