"""Five answers to one question, of which the one that most give is taken."""

import os

from corral.agents import Majority, ReAct
from corral.agents.testing import scripted_lm

real = os.environ.get("CORRAL_MODEL")
said = ["Canberra", "Sydney", "canberra", "Canberra ", "Sydney"]
voter = ReAct("question -> answer", lm=real or scripted_lm(said)[0], name="voter")
vote = Majority(voter, votes=5, at_once=1, key=lambda outputs: outputs["answer"].strip().lower())
result = vote.run_sync("What is the capital of Australia?")
print(result.outputs, result.detail)
# {'answer': 'Canberra'} 3 of 5 agree
