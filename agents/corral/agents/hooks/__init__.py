"""Hooks: what a plugin may look at, change or stop in a run, by typed results and by nothing else."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.agents.hooks.hook import CellView, Hook, ModelView, Replace, RunView, ToolView, Veto
    from corral.agents.hooks.hooks import Hooks, Vetoed
    from corral.agents.hooks.plugins import GROUP, load_plugin, load_plugins
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "hook": "CellView Hook ModelView Replace RunView ToolView Veto",
            "hooks": "Hooks Vetoed",
            "plugins": "GROUP load_plugin load_plugins",
        },
    )

__all__ = [
    "CellView",
    "GROUP",
    "Hook",
    "Hooks",
    "ModelView",
    "Replace",
    "RunView",
    "ToolView",
    "Veto",
    "Vetoed",
    "load_plugin",
    "load_plugins",
]
