"""The cheap model first, and the strong one where its answer is not sure enough."""

import os

from corral.agents import Cascade, ReAct
from corral.agents.testing import Call, Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
unsure, sure = {"answer": "Perhaps 4.", "confidence": 0.3}, {"answer": "17.", "confidence": 0.9}
cheap = ReAct("q -> answer, confidence: float", lm=real or scripted_lm([Reply(calls=[Call("submit", unsure)])])[0])
strong = ReAct("q -> answer, confidence: float", lm=real or scripted_lm([Reply(calls=[Call("submit", sure)])])[0])
team = Cascade(cheap, strong, good=lambda result: result.outputs["confidence"] > 0.8)
print(team.run_sync("How many bales are left?").outputs)
# {'answer': '17.', 'confidence': 0.9}
