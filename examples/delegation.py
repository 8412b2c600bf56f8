"""An agent that has two others work for it, with what all three spent."""

import os

from corral.agents import ReAct
from corral.agents.testing import Call, Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
history = ReAct("question -> answer", lm=real or scripted_lm(["In 1969."])[0], name="history")
sums = ReAct(
    "question -> result: int", lm=real or scripted_lm([Reply(calls=[Call("submit", {"result": 57})])])[0], name="sums"
)
asks = [Reply(calls=[Call("history", {"question": "When?"})]), Reply(calls=[Call("sums", {"question": "2026 - 1969"})])]
boss = ReAct("question -> answer", [history, sums], lm=real or scripted_lm([*asks, "57 years ago."])[0], name="boss")
result = boss.run_sync("How long ago was the first landing on the Moon?")
print(result.outputs, result.spent.steps)
# {'answer': '57 years ago.'} 5
