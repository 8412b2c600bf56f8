"""A front desk that hands a task over to whoever can do it; that one's answer is the answer."""

import os

from corral.agents import ReAct, hand_off
from corral.agents.testing import Call, Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
refunds = ReAct("request -> answer", lm=real or scripted_lm(["Your 12 euro are on their way."])[0], name="refunds")
calls = Reply(calls=[Call("refunds", {"note": "a regular customer"})])
desk = ReAct("request -> answer", [hand_off(refunds)], lm=real or scripted_lm([calls])[0], name="desk")
print(desk.run_sync("I want my money back.").outputs)
# {'answer': 'Your 12 euro are on their way.'}
