"""Skills: folders with instructions that a model reads when it needs them, and AGENTS.md."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.agents.skills.guidance import Guidance
    from corral.agents.skills.local import lock_skills
    from corral.agents.skills.source import Skills
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "guidance": "Guidance",
            "local": "lock_skills",
            "source": "Skills",
        },
    )

__all__ = ["Guidance", "Skills", "lock_skills"]
