"""Several agents that answer as one: small parts, each a member that agents and other parts can delegate to."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.agents.teams.bestof import BestOf
    from corral.agents.teams.cascade import Cascade, Fallback
    from corral.agents.teams.fanout import FanOut, fan_out
    from corral.agents.teams.judged import Judged
    from corral.agents.teams.majority import Majority
    from corral.agents.teams.part import Ask, Part
    from corral.agents.teams.router import Router
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "bestof": "BestOf",
            "cascade": "Cascade Fallback",
            "fanout": "FanOut fan_out",
            "judged": "Judged",
            "majority": "Majority",
            "part": "Ask Part",
            "router": "Router",
        },
    )

__all__ = ["Ask", "BestOf", "Cascade", "Fallback", "FanOut", "Judged", "Majority", "Part", "Router", "fan_out"]
