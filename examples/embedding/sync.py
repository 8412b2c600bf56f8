"""An agent in a plain program: CORRAL_MODEL=openai/gpt-4o-mini python sync.py"""

from os import environ

from corral.agents import ModelSpec, ReAct
from corral.tools import tool


@tool(effect="read")
def stock(item: str) -> int:
    """How much of an item there is."""
    return {"hay": 7, "oats": 0}[item]


model = ModelSpec(model=environ.get("CORRAL_MODEL", "openai/gpt-4o-mini"), api_base=environ.get("CORRAL_API_BASE"))
result = ReAct("question -> answer, count: int", [stock], lm=model).run_sync("How much hay is there?")
print(result.outputs if result.ok else result.reason)
