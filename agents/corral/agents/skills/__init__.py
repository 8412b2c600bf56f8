"""Skills: folders with instructions that a model reads when it needs them, and AGENTS.md."""

from corral.agents.skills.guidance import Guidance
from corral.agents.skills.local import lock_skills
from corral.agents.skills.source import Skills

__all__ = ["Guidance", "Skills", "lock_skills"]
