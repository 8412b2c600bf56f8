"""Guards in code: what an answer must not have is taken out, what it must have is asked for again."""

import os

from corral.agents import Length, Pattern, ReAct, Redact
from corral.agents.testing import scripted_lm

real = os.environ.get("CORRAL_MODEL")
lm = real or scripted_lm(["Ask ann@farm.example.", "Ask ann@farm.example [1]."])[0]
sourced = Pattern(r"\[\d+\]", means="the number of a source", required=True)
agent = ReAct("question -> answer", lm=lm, input_guards=[Length(500)], output_guards=[sourced, Redact()])
result = agent.run_sync("Who knows how much hay is left?")
print(result.outputs, result.repairs)
# {'answer': 'Ask [mail] [1].'} 1
