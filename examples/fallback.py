"""The next agent where one comes to no answer."""

import os

from dspy.lm15 import AuthError

from corral.agents import Fallback, ReAct
from corral.agents.testing import Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
broken = ReAct("question -> answer", lm=scripted_lm([Reply(error=AuthError("the key was refused"))])[0], name="broken")
works = ReAct("question -> answer", lm=real or scripted_lm(["Yes."])[0], name="works")
result = Fallback(broken, works).run_sync("Is anybody there?")
print(result.outputs, result.spent.steps)
# {'answer': 'Yes.'} 2
