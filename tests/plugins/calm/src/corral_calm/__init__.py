"""A sample plugin: nothing is sent to strangers, and what is sent is polite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.agents import Hook, Replace, RunView, ToolView, Veto


class Calm(Hook):
    """Vetoes calls of `send` to anyone outside of the farm."""

    def before_tool(self, run: RunView, arguments: Mapping[str, Any], call: ToolView) -> Veto | Replace | None:
        if call.tool != "send":
            return None
        if not str(arguments.get("to", "")).endswith("@farm.example"):
            return Veto("nothing is sent to strangers")
        return Replace({**arguments, "text": f"{arguments['text']} Kind regards."}, "it was not polite")
