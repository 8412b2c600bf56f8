"""The effects of a run: the only package here that asks a model, calls a tool, runs a cell or touches memory.

Each passes the gate. A test reads the source to see that nothing else does.
"""

from corral.agents.effects.effects import Effects

__all__ = ["Effects"]
