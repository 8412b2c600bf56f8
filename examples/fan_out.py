"""One agent, many tasks, two of them at the same time."""

import os

from corral.agents import FanOut, ReAct
from corral.agents.testing import scripted_lm

real = os.environ.get("CORRAL_MODEL")
lm = real or scripted_lm(lambda request, number: request.messages[-1].text.upper())[0]
each = FanOut(ReAct("word -> shouted", lm=lm, name="shouts"), at_once=2)
print(each.run_sync(["hay", "oats", "straw"]).outputs)
# {'answers': ['HAY', 'OATS', 'STRAW']}
