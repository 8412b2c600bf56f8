"""Three answers, of which the one with the best score is taken."""

import os

from corral.agents import BestOf, ReAct
from corral.agents.testing import scripted_lm

real = os.environ.get("CORRAL_MODEL")
lm = real or scripted_lm(["A barn.", "A barn is a building for hay, animals and machines.", "A barn is big."])[0]
writer = ReAct("word -> definition", lm=lm, name="writer")
best = BestOf(writer, lambda inputs, outputs: len(outputs["definition"].split()), answers=3, at_once=1)
print(best.run_sync("barn").outputs)
# {'definition': 'A barn is a building for hay, animals and machines.'}
