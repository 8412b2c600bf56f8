"""For tests: a scripted model as an engine, and an OpenAI-compatible server on loopback that plays a script."""

from corral.agents.testing.scripted import Call, Fault, Reply, Script, ScriptedEngine, scripted_lm
from corral.agents.testing.server import ScriptedServer

__all__ = ["Call", "Fault", "Reply", "Script", "ScriptedEngine", "ScriptedServer", "scripted_lm"]
