"""An agent in a plain program: MODEL=openai/gpt-4o-mini python sync.py"""

import os

from corral.agents import ModelSpec, ReAct
from corral.tools import tool


@tool(effect="read")
def stock(item: str) -> int:
    """How much of an item there is."""
    return {"hay": 7, "oats": 0}[item]


model = ModelSpec(model=os.environ["MODEL"], api_base=os.environ.get("API_BASE"))
result = ReAct("question -> answer, count: int", [stock], lm=model).run_sync("How much hay is there?")
print(result.outputs if result.ok else result.reason)
