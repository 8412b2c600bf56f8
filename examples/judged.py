"""A judge who gives answers back, with a critique, until one will do."""

import os

from corral.agents import Judged, ReAct
from corral.agents.testing import Call, Reply, scripted_lm

real = os.environ.get("CORRAL_MODEL")
writer = ReAct(
    "task -> poem", lm=real or scripted_lm(["Roses are red.", "Roses are red, hay is too."])[0], name="writer"
)
verdicts = [{"accepted": False, "critique": "nothing on hay"}, {"accepted": True, "critique": ""}]
lm = real or scripted_lm([Reply(calls=[Call("submit", verdict)]) for verdict in verdicts])[0]
judge = ReAct("task, poem -> accepted: bool, critique: str", lm=lm, name="judge")
print(Judged(writer, judge, rounds=3).run_sync("A poem on hay.").outputs)
# {'poem': 'Roses are red, hay is too.'}
