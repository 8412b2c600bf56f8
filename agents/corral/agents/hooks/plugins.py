"""Plugins: hooks of other distributions, found by their entry points and loaded only when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.hooks.hook import Hook

__all__ = ["GROUP", "load_plugin", "load_plugins"]

GROUP = "corral.plugins"
"""The group of entry points: `[project.entry-points."corral.plugins"]`, `name = "package.module:HookClass"`."""


def load_plugins(wanted: Sequence[str | Hook]) -> tuple[Hook, ...]:
    """Hooks as they are, and those that are named, from the packages that are installed.

    Raises:
        DefinitionError: One is not installed, can't be loaded, or is no hook.
    """
    return tuple(load_plugin(each) if isinstance(each, str) else _checked(each, repr(each)) for each in wanted)


def load_plugin(name: str) -> Hook:
    """The hook that an installed package offers as `name`: its class, or a function, is called without arguments.

    Raises:
        DefinitionError: There is none or more than one, it can't be loaded, or it is no hook.
    """
    found = {_package(entry): entry for entry in entry_points(group=GROUP, name=name)}
    if not found:
        names = sorted({entry.name for entry in entry_points(group=GROUP)})
        there = f"installed are {', '.join(names)}" if names else "none is installed"
        raise DefinitionError(f"there is no plugin {name!r}; {there}. Install the package that has it, with pip")
    if len(found) > 1:
        raise DefinitionError(
            f"several packages have a plugin {name!r}: {', '.join(sorted(found))}; remove all but one"
        )
    ((package, entry),) = found.items()
    try:
        loaded: Any = entry.load()
        made = loaded() if callable(loaded) else loaded
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise DefinitionError(f"the plugin {name!r} of {package} can't be loaded: {what}") from error
    hook = _checked(made, f"the plugin {name!r} of {package}")
    hook.name = hook.name or name
    return hook


def _checked(made: Any, what: str) -> Hook:
    if not isinstance(made, Hook):
        raise DefinitionError(f"{what} is no corral.agents.Hook")
    return made


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
