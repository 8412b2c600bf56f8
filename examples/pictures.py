"""Pictures: a task may hold some, and a model that sees is shown those that tools return."""

import os

import dspy

from corral.agents import ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.tools import Media, tool

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@tool(effect="read")
def photo(of: str) -> Media:
    return Media("image/png", DOT)


real = os.environ.get("CORRAL_MODEL")
lm = real or scripted_lm([Reply(calls=[Call("photo", {"of": "stable"})]), "The same dot."])[0]
agent = ReAct("task -> answer", [photo], lm=lm)
result = agent.run_sync(["Is this in the stable?", dspy.Image(f"data:image/png;base64,{DOT}")])
print(result.outputs)
# {'answer': 'The same dot.'}
