"""All that one run may cause, by kind."""

from __future__ import annotations

from dataclasses import dataclass

from corral.agents.effects.cells import CellEffects
from corral.agents.effects.memory import MemoryEffects
from corral.agents.effects.models import ModelEffects
from corral.agents.effects.passage import Passage
from corral.agents.effects.tools import ToolEffects

__all__ = ["Effects"]


@dataclass(eq=False)
class Effects(Passage):
    """What one run may cause, all of it through one gate: it asks `models`, calls `tools`, runs `cells`, and has
    `memory` recall and remember."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.models = ModelEffects(self)
        self.tools = ToolEffects(self)
        self.cells = CellEffects(self)
        self.memory = MemoryEffects(self)
        self.ask = self.models.ask_below
